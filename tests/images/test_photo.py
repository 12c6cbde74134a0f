"""One opening of each image file serves its check, its hash, its fingerprint and its pixels."""

from __future__ import annotations

import gc
import hashlib
import json
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchebm.errors import ImageError
from patchebm.images.checking import readable_photos
from patchebm.images.fingerprints import FingerprintTaker, take_fingerprints
from patchebm.images.folders import ImageFile
from patchebm.images.photo import Photo
from patchebm.images.reading import read_image
from patchebm.provenance import combined_hash, data_hash

COUNT_OPENINGS = """
import json, sys
from pathlib import Path
from patchebm.images.fingerprints import FingerprintTaker
from patchebm.images.checking import readable_photos
from patchebm.images.folders import ImageFile
from patchebm.provenance import combined_hash

root = Path(sys.argv[1])
images = [ImageFile(path) for path in sorted(root.glob("*.png"))]
opened = []

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".png"):
        opened.append(Path(arguments[0]).name)

sys.addaudithook(hook)
taker, bad = FingerprintTaker(root), []
for image, photo in readable_photos(images, bad):
    taker.add(photo)
    photo.pixels.sum()
prints = taker.fingerprints()
print(json.dumps([opened, combined_hash(zip(prints.names, prints.sha256))]))
"""


COUNT_OF_A_VERB = """
import json, sys
from pathlib import Path
from patchebm.cli.main import main

opened, folder = [], Path(sys.argv[1])

def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and Path(arguments[0]).parent == folder:
        opened.append(Path(arguments[0]).name)

sys.addaudithook(hook)
assert main(sys.argv[2:]) == 0
print(json.dumps(opened))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (80, 90, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_check_hash_fingerprint_and_pixels_open_each_file_once(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_OPENINGS, str(folder)], capture_output=True, text=True, check=True
    )
    opened, digest = json.loads(done.stdout)
    assert opened == ["0.png", "1.png", "2.png", "3.png"]
    assert digest == data_hash(sorted(folder.glob("*.png")), folder)


@pytest.mark.parametrize("verb", ["predict", "watch"])
def test_a_verb_that_hashes_scores_and_draws_opens_each_file_once(
    folder: Path, bundle_file: Path, tmp_path_factory: pytest.TempPathFactory, verb: str
) -> None:
    out = tmp_path_factory.mktemp("out")
    options = {
        "predict": [str(bundle_file), str(folder), "--out", str(out)],
        "watch": [
            *(str(folder), "--model", str(bundle_file), "--out", str(out), "--maps"),
            *("--once", "--settle", "0.05", "--poll", "0.02"),
        ],
    }
    command = [sys.executable, "-c", COUNT_OF_A_VERB, str(folder), verb, *options[verb]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sorted(json.loads(done.stdout.splitlines()[-1])) == ["0.png", "1.png", "2.png", "3.png"]
    assert len(list(out.rglob("*_heat.png"))) == 4


def test_a_photo_is_what_its_file_holds(folder: Path) -> None:
    photo = Photo(folder / "1.png")
    content = (folder / "1.png").read_bytes()
    assert photo.sha256 == hashlib.sha256(content).hexdigest()
    np.testing.assert_array_equal(photo.pixels, read_image(folder / "1.png"))
    # Another file by that name later does not make it another photo, until it is released.
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes())
    assert photo.content == content
    photo.release()
    np.testing.assert_array_equal(photo.pixels, read_image(folder / "2.png"))


def test_one_image_at_a_time_is_in_memory(folder: Path) -> None:
    images = [ImageFile(path) for path in sorted(folder.glob("*.png"))]
    decoded: list[weakref.ref[object]] = []
    photos = []
    for _, photo in readable_photos(images, []):
        decoded.append(weakref.ref(photo.pixels))
        photos.append(photo)
        gc.collect()
        assert sum(array() is not None for array in decoded) == 1
    assert len(photos) == 4


def test_what_cannot_be_read_is_told_and_the_others_come(folder: Path) -> None:
    (folder / "2.png").write_bytes(b"no image")
    images = [ImageFile(path) for path in (*sorted(folder.glob("*.png")), folder / "none.png")]
    bad: list[tuple[ImageFile, str]] = []
    taker = FingerprintTaker(folder)
    for _, photo in readable_photos(images, bad):
        taker.add(photo)
    prints = taker.fingerprints()
    assert prints.names == ["0.png", "1.png", "3.png"]
    assert [(image.path.name, reason.split(" ", 1)[1][:12]) for image, reason in bad] == [
        ("2.png", "is not a PNG"),
        ("none.png", "does not exi"),
    ]
    good = take_fingerprints([folder / name for name in prints.names], folder)
    np.testing.assert_array_equal(prints.details, good.details)
    assert combined_hash(zip(prints.names, prints.sha256, strict=True)) == data_hash(
        [folder / name for name in prints.names], folder
    )


@pytest.mark.parametrize("use", ["content", "sha256", "pixels"])
def test_a_photo_of_nothing_is_one_sentence(tmp_path: Path, use: str) -> None:
    with pytest.raises(ImageError, match=r"none\.png does not exist; check the path"):
        getattr(Photo(tmp_path / "none.png"), use)
