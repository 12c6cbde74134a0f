"""The example that turns a manifest of Amazon Lookout for Vision into an image set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from patchebm.images.folders import open_image_set
from patchebm.images.reading import read_mask

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "lookout_manifest.py"
COLOURS = {
    "0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": 0.0},
    "1": {"class-name": "scratch", "hex-color": "#2ca02c", "confidence": 0.0},
    "2": {"class-name": "dent", "hex-color": "#1f77b4", "confidence": 0.0},
}


def entry(key: str, label: str, mask: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "source-ref": f"s3://bucket/{key}",
        "anomaly-label": 1,
        "anomaly-label-metadata": {"class-name": label, "type": "groundtruth/image-classification"},
    }
    if mask:
        found["anomaly-mask-ref"] = f"s3://bucket/{mask}"
        found["anomaly-mask-ref-metadata"] = {"internal-color-map": COLOURS}
    return found


def write_manifest(path: Path, entries: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, entries)) + "\n", encoding="utf-8")
    return path


def save(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def run(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_manifests_become_an_image_set(tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    grey = np.full((8, 10, 3), 90, dtype=np.uint8)
    for key in ("a/1.png", "b/1.png", "t/1.png", "t/2.png", "t/3.png"):
        save(bucket / key, grey)
    mask = np.full((8, 10, 3), 255, dtype=np.uint8)
    mask[2:4, 3:6] = (0x2C, 0xA0, 0x2C)
    save(bucket / "masks/2.png", mask)
    train = write_manifest(tmp_path / "train", [entry("a/1.png", "normal"), entry("b/1.png", "normal")])
    test = write_manifest(
        tmp_path / "test",
        [
            entry("t/1.png", "normal"),
            entry("t/2.png", "anomaly", "masks/2.png"),
            entry("t/3.png", "anomaly"),
        ],
    )
    out = tmp_path / "out"
    done = run(train, test, "--images", bucket, "--out", out)
    assert done.returncode == 0, done.stderr
    found = open_image_set(out)
    assert len(found.train) == 2
    assert sorted(image.defect for image in found.test) == ["anomaly", "good", "scratch"]
    (scratch,) = (image for image in found.test if image.defect == "scratch")
    assert scratch.masks
    marked = read_mask(scratch.masks[0], (8, 10))
    # The background of these masks is white: copied as it is, it would count as a defect.
    assert marked.sum() == 6
    assert marked[2:4, 3:6].all()


def test_an_image_that_was_not_fetched_is_named(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "train", [entry("a/1.png", "normal")])
    done = run(manifest, "--images", tmp_path, "--out", tmp_path / "out")
    assert done.returncode != 0
    assert "s3://bucket/a/1.png" in done.stderr
    assert "Traceback" not in done.stderr
