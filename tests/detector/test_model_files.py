"""Model files: what is in them, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchebm.detector import EnsembleDetector, load
from patchebm.detector.modelfile import load_model, save_model
from patchebm.errors import ModelFileError, PatchebmError


@pytest.fixture
def copied(model_folder: Path, tmp_path: Path) -> Path:
    """A model that a test may damage."""
    return shutil.copytree(model_folder, tmp_path / "model")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a model's facts as another program might that knows of the hash."""
    own, tensors = load_model(folder)
    change(own)
    save_model(folder, own, tensors)


def damage(folder: Path, how: str) -> None:
    (tensors,), card = folder.glob("model-*.safetensors"), folder / "model.json"
    facts = json.loads(card.read_text())
    if how == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-50])
    elif how == "altered":
        content = bytearray(tensors.read_bytes())
        content[-3] ^= 1
        tensors.write_bytes(content)
    elif how == "missing":
        tensors.unlink()
    elif how == "no card":
        card.unlink()
    elif how == "old":
        card.write_text(json.dumps(facts | {"format_version": 3, "patchebm": "1.2"}))
    elif how == "newer":
        card.write_text(json.dumps(facts | {"format_version": 99, "patchebm": "9.9"}))
    elif how == "foreign":
        card.write_text(json.dumps({"hello": 1}))
    elif how == "a number changed":
        facts["facts"]["normal"]["mean"] = 1e9
        card.write_text(json.dumps(facts))
    elif how == "deep":
        card.write_text("[" * 100_000)
    elif how == "no json":
        card.write_text("{")
    elif how == "unknown key":
        rewrite(folder, lambda own: own["config"]["patch"].update(bogus=1))
    elif how == "no whitening":
        rewrite(folder, lambda own: own["config"]["image"].update(whitening=None))
    elif how == "another base":
        own, parts = load_model(folder)
        own["config"]["image"]["base"] = {"kind": "mixture"}
        save_model(folder, own, parts)
    elif how == "another grid":
        rewrite(folder, lambda own: own["framing"].update(grid=[4, 4]))
    elif how == "a bad box":
        rewrite(folder, lambda own: own["framing"].update(box=[9, 3, 0, 64]))
    elif how == "no calibration":
        rewrite(folder, lambda own: own["calibration"].pop("tail"))
    elif how == "a tensor is missing":
        own, parts = load_model(folder)
        del parts["image.scale"]
        save_model(folder, own, parts)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "truncated or altered"),
        ("altered", "truncated or altered"),
        ("missing", "cannot be read \\(No such file"),
        ("no card", "holds no finished model .* train one with `patchebm train DATA --out RUN`"),
        (
            "old",
            r"model format 3, written by patchebm 1\.2, and this patchebm \S+ reads format 7; "
            "use that version or train the model again$",
        ),
        ("newer", "format 99, written by patchebm 9.9"),
        ("foreign", "no patchebm model"),
        ("no json", "cannot be read"),
        ("a number changed", "was altered"),
        ("deep", "cannot be read"),
        ("unknown key", "bogus"),
        ("no whitening", "does not fit its tensors .*image has the tensors of another kind of energy"),
        ("another base", "does not fit its tensors .*MixtureEnergy"),
        ("another grid", "does not fit its tensors .*position was fitted on a grid of \\(8, 8\\)"),
        ("a bad box", "bad framing .*box"),
        ("no calibration", "does not fit its tensors .*tail"),
        ("a tensor is missing", "does not fit its tensors .*scale"),
    ],
)
def test_a_damaged_model_is_refused_with_the_reason(copied: Path, how: str, words: str) -> None:
    assert load(copied)
    damage(copied, how)
    with pytest.raises(ModelFileError, match=words):
        load(copied)


def test_the_file_of_tensors_lies_beside_the_card(copied: Path, tmp_path: Path) -> None:
    """Wherever a path in the card might lead."""
    (tensors,), card = copied.glob("model-*.safetensors"), copied / "model.json"
    facts = json.loads(card.read_text())
    tensors.rename(tmp_path / tensors.name)
    card.write_text(json.dumps(facts | {"tensors": f"../{tensors.name}"}))
    with pytest.raises(ModelFileError, match="cannot be read"):
        load(copied)


def test_a_file_is_no_run_folder(copied: Path) -> None:
    with pytest.raises(ModelFileError, match="is a file, and only the run folder"):
        load(copied / "model.json")


def test_model_files_hold_no_pickle(model_folder: Path) -> None:
    tensors, card = sorted(model_folder.iterdir(), key=lambda file: file.suffix, reverse=True)
    assert card.name == "model.json"
    assert tensors.name == json.loads(card.read_text())["tensors"]
    content = tensors.read_bytes()
    # A safetensors file is the length of its JSON header, the header, and nothing but numbers.
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    ends = [facts["data_offsets"][1] for name, facts in header.items() if name != "__metadata__"]
    assert max(ends) == len(content) - 8 - length


def test_a_model_that_is_replaced_leaves_one_file_of_tensors(
    copied: Path, fitted: EnsembleDetector, fitted_pixels: EnsembleDetector
) -> None:
    fitted_pixels.save(copied)
    assert len(list(copied.glob("model-*.safetensors"))) == 1
    assert load(copied).config == fitted_pixels.config
    fitted.save(copied)
    assert len(list(copied.iterdir())) == 2


def test_facts_that_json_cannot_hold_leave_the_old_model_whole(
    copied: Path, fitted: EnsembleDetector
) -> None:
    with pytest.raises(ValueError, match="JSON"):
        fitted.save(copied, {"bad": float("nan")})
    assert load(copied)


def test_a_folder_that_cannot_be_written_is_one_sentence(fitted: EnsembleDetector, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PatchebmError, match=r"cannot write .*; choose another file or folder"):
        fitted.save(tmp_path / "file" / "model")
