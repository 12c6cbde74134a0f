"""The states of a run folder: claimed, interrupted, finished, cleared; no model is trained."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from patchebm.errors import DataError
from patchebm.images.fingerprints import FingerprintTaker, load_fingerprints
from patchebm.images.folders import open_image_set
from patchebm.images.photo import Photo
from patchebm.provenance import data_hash
from patchebm.run_folder import CHECKPOINT, RunFolder
from tests.tiny import tiny_config


@pytest.fixture
def images(data: Path) -> list[Path]:
    return sorted((data / "train" / "good").iterdir())


def finish(run: RunFolder, data: Path, images: list[Path]) -> dict[str, object]:
    """What training leaves."""
    run.begin(tiny_config(), data_hash(images, data))
    taker = FingerprintTaker(data)
    for image in images:
        taker.add(Photo(image))
    run.remember(taker.fingerprints())
    for level in ("patch", "image", "line"):
        for network in ("network0", "network1"):
            folder = run.training / level / network
            folder.mkdir(parents=True)
            (folder / CHECKPOINT).touch()
    record = run.finish(
        command=["patchebm"], seconds=1.26, image_set=open_image_set(data), images={"images": 9}
    )
    run.tensors_file("0123456789abcdef").touch()
    run.card_file.write_text("{}")
    run.results_file("part").parent.mkdir()
    run.results_file("part").write_text("{}")
    return record


def test_a_run_is_claimed_finished_and_cleared(data: Path, images: list[Path], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.record() == {}
    record = finish(run, data, images)
    assert record == run.record()
    assert (record["images"], record["train_seconds"], record["image_set"]) == (9, 1.3, data.name)
    assert "config" not in record
    assert yaml.safe_load(run.config_file.read_text())["seed"] == 0
    assert len(load_fingerprints(run.fingerprints_file).names) == 9
    assert run.is_finished
    assert [file.name for file in run.model_files()] == ["model.json", "model-0123456789ab.safetensors"]
    assert [folder.name for folder in run.networks("line")] == ["network0", "network1"]
    assert run.networks("other") == []
    run.drop_checkpoints()
    assert list(run.path.rglob(CHECKPOINT)) == []
    with pytest.raises(DataError, match="finished model"):
        run.begin(tiny_config(), data_hash(images, data))
    (run.path / "mine.txt").write_text("precious")
    run.clear()
    assert [file.name for file in run.path.iterdir()] == ["mine.txt"]


def test_an_interrupted_run_goes_on_and_another_does_not(
    data: Path, images: list[Path], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.begin(tiny_config(), data_hash(images, data)) is False
    assert run.begin(tiny_config(), data_hash(images, data)) is True
    for config, chosen in ((tiny_config(seed=1), images), (tiny_config(), images[1:])):
        with pytest.raises(DataError, match="another configuration or other images"):
            run.begin(config, data_hash(chosen, data))
    run.record_file.write_text(run.record_file.read_text()[:50])
    with pytest.raises(DataError, match="cannot be read"):
        run.begin(tiny_config(), data_hash(images, data))


def test_a_folder_of_something_else_is_left_alone(data: Path, images: list[Path], tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    # What a run that was killed in its first moment leaves is no reason to refuse.
    (tmp_path / ".run.json.x.part").touch()
    run.config_file.write_text("precious")
    run.clear()
    with pytest.raises(DataError, match="not empty and holds no run"):
        run.begin(tiny_config(), data_hash(images, data))
    assert run.config_file.read_text() == "precious"
    run.config_file.unlink()
    assert run.begin(tiny_config(), data_hash(images, data)) is False
    with pytest.raises(DataError, match="cannot be a run folder"):
        RunFolder(run.record_file).begin(tiny_config(), data_hash(images, data))


def test_a_clearing_that_was_killed_leaves_no_model_and_can_be_repeated(
    data: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    finish(run, data, images)

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", kill)
        with pytest.raises(KeyboardInterrupt):
            run.clear()
    assert not run.is_finished
    assert run.training.exists()
    run.clear()
    assert list(run.path.iterdir()) == []


def test_measurement_and_pages_need_no_torch() -> None:
    source = Path(__file__).resolve().parents[1] / "src"
    modules = [
        ".".join(file.relative_to(source).with_suffix("").parts)
        for folder in ("evaluation", "report")
        for file in sorted((source / "patchebm" / folder).glob("*.py"))
    ]
    code = (
        f"import importlib, json, sys; [importlib.import_module(name) for name in "
        f"{['patchebm.run_folder', *modules]}]; print(json.dumps('torch' in sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) is False
