"""`patchebm train --workers`: the model of one process, whatever the images are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from patchebm import processes
from patchebm.cli.main import main
from patchebm.detector import training_set
from patchebm.images.fingerprints import load_fingerprints
from patchebm.run_folder import RunFolder
from tests.failing import failure
from tests.tiny import write_good

pytestmark = pytest.mark.timeout(600)


def photographs(folder: Path, kind: str) -> Path:
    """Good parts, a copy of one of them, and a file that is no image."""
    write_good(folder, 24)
    for number, file in enumerate(sorted(folder.iterdir())):
        with Image.open(file) as image:
            grey = np.asarray(image.convert("L"))
        if kind == "12 bits" and number >= 8:
            # The first of these tells what white is, when others have been opened already.
            Image.fromarray(grey.astype(np.uint16) * 16).save(file)
    shutil.copy(folder / "003.png", folder / "copy.png")
    (folder / "005.png").write_bytes(b"no image")
    return folder


def tensors(run: Path) -> dict[str, torch.Tensor]:
    (file,) = run.glob("model-*.safetensors")
    return load_file(file)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread here, and one in each of two processes: several may sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(processes, "available_threads", lambda: 2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["8 bits", "12 bits"])
@pytest.mark.parametrize("level", ["[position, image]", "[patch]"])
def test_the_model_is_that_of_one_process(
    kind: str, level: str, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some images are held out and some are added up.
    monkeypatch.setattr(training_set, "MAX_MAP_BYTES", 12 * 2 * 176 * 64)
    data = photographs(tmp_path / "parts", kind)
    command = ["train", str(data), "--config", str(tiny_yaml), "--levels", level, "--skip-bad", "--out"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*command, str(one)]) == 0
    assert main([*command, str(two), "--workers", "2"]) == 0
    found, expected = tensors(two), tensors(one)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    prints = [load_fingerprints(run / "training_images.npz") for run in (two, one)]
    assert prints[0].names == prints[1].names
    assert prints[0].sha256 == prints[1].sha256
    assert np.array_equal(prints[0].details, prints[1].details)
    records = [RunFolder(run).record() for run in (two, one)]
    for key in ("profile", "images", "copies", "data_sha256", "decoding"):
        assert records[0][key] == records[1][key], key
    assert records[0]["images"] == 23
    files = [(run / "training_scores.csv").read_text(encoding="utf-8") for run in (two, one)]
    assert files[0] == files[1]


def test_what_cannot_work_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(data), "--out", str(tmp_path / "out")]
    assert "--workers is 0; give at least 1" in failure(capsys, *command, "--workers", "0")
    pixels = [*command, "--preset", "pixel-cpu"]
    assert "read by one process; leave --workers out" in failure(capsys, *pixels, "--workers", "2")
    assert "--devices is 0; give at least 1" in failure(capsys, *command, "--devices", "0")
    sentence = failure(capsys, *command, "--devices", "2")
    assert "networks of features are small and trained on one device; leave --devices out" in sentence
    sentence = failure(capsys, *pixels, "--devices", "4096", "--device", "cpu")
    assert "--devices is 4096, and PyTorch finds" in sentence
    assert "cores of this CPU" in sentence
    assert not (tmp_path / "out").exists()
