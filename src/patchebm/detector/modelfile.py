"""Model files: tensors in safetensors, everything else in JSON, nothing that runs when it is read.

A model is a folder with `model.json` and the file of tensors that it names, `model-HASH.safetensors`. The
JSON is written last and holds the SHA-256 of the tensors and of its own facts, so that a half-written or
altered model is recognised; while a model is replaced the old one stays whole until then.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from patchebm._version import __version__
from patchebm.errors import ModelFileError
from patchebm.files import replacing, write_text
from patchebm.run_folder import RunFolder

FORMAT = "patchebm-model"
# Raise by one whenever an older patchebm could misread what is written.
FORMAT_VERSION = 7


def save_model(folder: str | Path, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a model folder, atomically file by file.

    Args:
        folder: made if it does not exist; a model in it is replaced.
        facts: what JSON can hold.
        tensors: by name.

    Raises:
        PatchebmError: the folder cannot be written or the disk is full.
    """
    folder = Path(folder)
    # Before anything is written: a model that is there stays whole if the facts cannot be.
    text = json.dumps(facts, sort_keys=True, allow_nan=False)
    content = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    run = RunFolder(folder)
    tensors_file = run.tensors_file(digest)
    with replacing(tensors_file) as temporary:
        temporary.write_bytes(content)
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "patchebm": __version__,
        "tensors": tensors_file.name,
        "tensors_sha256": digest,
        "facts_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    write_text(run.card_file, json.dumps(header | {"facts": facts}, indent=1) + "\n")
    for file in run.model_files():
        if file not in (run.card_file, tensors_file):
            file.unlink()


def load_model(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a model folder.

    Returns:
        The facts and the tensors that `save_model` was given.

    Raises:
        ModelFileError: missing, truncated, altered, or written by a newer version; says which.
    """
    folder = Path(folder)
    card = RunFolder(folder).card_file
    if folder.is_file():
        raise ModelFileError(
            f"{folder} is a file, and only the run folder that `patchebm train` wrote will do here; name that"
        )
    try:
        facts = json.loads(card.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{folder} holds no finished model ({card.name} is missing); "
            "train one with `patchebm train DATA --out RUN`"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{card} cannot be read ({error}); copy or train the model again") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ModelFileError(f"{card} is no patchebm model; give a folder that `patchebm train` wrote")
    version = facts.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{card} has model format {version}, written by patchebm {facts.get('patchebm')}, and this "
            f"patchebm {__version__} reads format {FORMAT_VERSION}; use that version or train the model again"
        )
    own = facts.get("facts")
    text = json.dumps(own, sort_keys=True)
    if not isinstance(own, dict) or hashlib.sha256(text.encode()).hexdigest() != facts.get("facts_sha256"):
        raise ModelFileError(
            f"{card} was altered (its facts do not have the SHA-256 that it states); copy or train again"
        )
    # A name alone: the file lies beside the card, wherever else a path might lead.
    file = folder / Path(str(facts.get("tensors"))).name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{file} cannot be read ({error.strerror}); copy or train the model again"
        ) from error
    if hashlib.sha256(content).hexdigest() != facts.get("tensors_sha256"):
        raise ModelFileError(
            f"{file} is truncated or altered (its SHA-256 is not the one in {card.name}); copy or train the "
            "model again"
        )
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise ModelFileError(f"{file} cannot be read ({error}); train again") from error
    return own, tensors
