"""This module writes and reads bundles: one zip with a graph, a card and hashes.

`docs/bundle-format.md` specifies the format.

Members are stored, not compressed, so that what the archive claims is what it holds and nothing inflates.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchebm._version import __version__
from patchebm.errors import ModelFileError
from patchebm.files import replacing

FORMAT = "patchebm-bundle"
# Raise by one whenever an older patchebm could misread what is written.
FORMAT_VERSION = 2
SUFFIX = ".patchebm"
MANIFEST, CARD = "manifest.json", "card.json"
GRAPHS = {"onnx": ("graph.onnx",), "openvino": ("graph.xml", "graph.bin")}
"""Members that hold the graph, by format."""

# Far above any backbone that answers within a second, and below what would exhaust a line's PC.
MAX_BYTES = 2 * 2**30
MAX_JSON_BYTES = 64 * 2**20
MAX_MEMBERS = 16
# The first year that a zip can state.
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """This class is a bundle in memory, its hashes checked.

    Attributes:
        source: where it came from, for messages.
        card: what the model is; its keys stand in `docs/bundle-format.md`.
        members: the graph's files by name.
    """

    source: str
    card: dict[str, Any]
    members: dict[str, bytes]


def write_bundle(path: str | Path, card: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    """Writes a bundle, atomically; the same content gives the same bytes.

    Args:
        path: file to write; its folder is made if it does not exist.
        card: what JSON can hold.
        members: the graph's files by name.

    Raises:
        PatchebmError: the file cannot be written or the disk is full.
    """
    content = {CARD: _json(card), **members}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "patchebm": __version__,
        "sha256": {name: hashlib.sha256(member).hexdigest() for name, member in content.items()},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, member in [(MANIFEST, _json(manifest)), *sorted(content.items())]:
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, member)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_bundle(path: str | Path) -> Bundle:
    """Reads a bundle whole, and checks it before anything in it is used.

    Raises:
        ModelFileError: missing, no bundle, truncated, altered, of another version, with members that are
            missing, unknown, escape or inflate; says which.
    """
    file = Path(path)
    try:
        if not file.is_file():
            kind = "is a folder" if file.is_dir() else "does not exist"
            raise ModelFileError(f"{file} {kind}; give a file that `patchebm export` wrote")
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise ModelFileError(
                f"{file} has more than {MAX_BYTES >> 30} GiB and is no bundle; export it again"
            )
        return parse_bundle(file.read_bytes(), str(file))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{path!s:.200} cannot be read ({reason}); check the path") from error


def parse_bundle(content: bytes, source: str) -> Bundle:
    """Returns what `read_bundle` does, from bytes; `source` is what messages call them."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _read(archive, source)
    except ModelFileError:
        raise
    # zipfile raises nearly anything on damaged archives: BadZipFile, struct.error, EOFError, OverflowError.
    except Exception as error:
        raise ModelFileError(
            f"{source} is truncated, damaged or no bundle ({type(error).__name__}); copy or export it again"
        ) from error
    manifest = _object(members.pop(MANIFEST), MANIFEST, source)
    if manifest.get("format") != FORMAT:
        raise ModelFileError(f"{source} is no patchebm bundle; give a file that `patchebm export` wrote")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{source} has bundle format {version!r:.20}, written by patchebm "
            f"{manifest.get('patchebm')!r:.20}, and this patchebm {__version__} reads format "
            f"{FORMAT_VERSION} alone; export its run again with this version, or use the one that wrote it"
        )
    hashes = manifest.get("sha256")
    if not isinstance(hashes, dict) or set(hashes) != set(members):
        raise ModelFileError(
            f"{source}: {MANIFEST} does not list the members that are there; export it again"
        )
    for name, member in members.items():
        if hashlib.sha256(member).hexdigest() != hashes[name]:
            raise ModelFileError(
                f"{source} was altered ({name} does not have the SHA-256 that {MANIFEST} states); "
                "copy or export it again"
            )
    if CARD not in members:
        raise ModelFileError(f"{source} has no {CARD}; export it again")
    card = _object(members.pop(CARD), CARD, source)
    graph = card.get("graph")
    form = graph.get("format") if isinstance(graph, dict) else None
    if not isinstance(form, str) or form not in GRAPHS:
        raise ModelFileError(
            f"{source}: {CARD} names no known graph.format; use a newer patchebm or export again"
        )
    if set(members) != set(GRAPHS[form]):
        raise ModelFileError(
            f"{source} must hold {' and '.join(GRAPHS[form])}, and does not; export it again"
        )
    return Bundle(source, card, members)


def _read(archive: zipfile.ZipFile, source: str) -> dict[str, bytes]:
    """Returns the members by name, once all that the directory says of them has been checked."""
    infos = archive.infolist()
    known = {MANIFEST, CARD, *(name for names in GRAPHS.values() for name in names)}
    if len(infos) > MAX_MEMBERS:
        raise ModelFileError(f"{source} has {len(infos)} members and is no bundle; export it again")
    names = [info.filename for info in infos]
    for info in infos:
        if info.filename not in known:
            raise ModelFileError(
                f"{source} has a member {info.filename!r:.80}, which no bundle has; export it again"
            )
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ModelFileError(f"{source}: {info.filename} is compressed or encrypted; export it again")
        if info.file_size != info.compress_size or info.file_size > MAX_BYTES:
            raise ModelFileError(
                f"{source}: {info.filename} claims a size that it cannot have; export it again"
            )
        if info.filename.endswith(".json") and info.file_size > MAX_JSON_BYTES:
            raise ModelFileError(f"{source}: {info.filename} is too large to be read; export it again")
    if len(set(names)) != len(names) or MANIFEST not in names:
        what = "has a member twice" if MANIFEST in names else f"has no {MANIFEST}"
        raise ModelFileError(f"{source} {what}; give a file that `patchebm export` wrote")
    return {info.filename: archive.read(info) for info in infos}


def _object(content: bytes, name: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{source}: {name} cannot be read ({error!s:.80}); export it again") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{source}: {name} is no JSON object; export it again")
    return value


def _json(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    # Of a lone surrogate, as in a name of a file that is no Unicode, this makes JSON's own escape.
    return text.encode("utf-8", "backslashreplace")
