"""Errors come first, the worst of them, and memory does not grow with the number of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchebm.images.folders import ImageFile
from patchebm.report.gallery import PANEL, Gallery
from patchebm.runtime.prediction import Prediction


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "p.png"
    noise = np.random.default_rng(0).integers(0, 255, (400, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def offer(gallery: Gallery, file: Path, defect: str, score: float, mask: Path | None = None) -> None:
    """An image with a threshold of 1."""
    heat = np.zeros((400, 700), dtype=np.float32)
    heat[0, 0] = score
    prediction = Prediction(f"{defect} {score}", score, score > 1, 1.0, 0.01, False, {"patch": score}, heat)
    gallery.offer(ImageFile(file, defect, () if mask is None else (mask,)), prediction)


def heat_range(heat: np.ndarray) -> tuple[float, float]:
    return 0.0, max(1.0, float(heat.max()))


def test_worst_errors_first_then_examples_good_ones_last(file: Path) -> None:
    gallery = Gallery(heat_range, errors=2)
    for score in (0.1, 0.9, 0.5, 3.0, 2.0, 7.0):
        offer(gallery, file, "good", score)
        offer(gallery, file, "crack", score)
    offer(gallery, file, "bend", 5.0)
    items = gallery.items()
    assert [(item.truth, item.prediction.score) for item in items] == [
        *(("crack", 0.1), ("crack", 0.5)),
        *(("good", 7.0), ("good", 3.0)),
        ("bend", 5.0),
        *(("crack", 7.0), ("crack", 2.0)),
        *(("good", 0.1), ("good", 0.9)),
    ]
    assert [item.role for item in items] == [*[""] * 4, *["clearest"] * 2, "closest", "clearest", "closest"]
    assert [item.is_wrong for item in items] == [True] * 4 + [False] * 5
    assert items[4].one_in == "1 in 100 good"


def test_images_and_masks_are_shrunk_and_thin_defects_stay(file: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    marked = np.zeros((400, 700), dtype=np.uint8)
    marked[:, 350] = 255
    Image.fromarray(marked).save(mask)
    gallery = Gallery(heat_range)
    offer(gallery, file, "crack", 0.5, mask)
    offer(gallery, file, "good", 0.5)
    with_mask, without = gallery.items()
    assert with_mask.image.height == without.image.height == round(PANEL * 400 / 700)
    assert 3 * PANEL <= with_mask.image.width <= 3 * PANEL + 30
    assert 2 * PANEL <= without.image.width <= 2 * PANEL + 20
    panel = np.asarray(with_mask.image)[:, -PANEL:].astype(int)
    # The outline is light blue, which grey is not.
    assert (panel[..., 2] - panel[..., 0] > 100).any()


def test_many_images_leave_few(file: Path) -> None:
    gallery = Gallery(heat_range, errors=3, limit=5)
    for i in range(300):
        offer(gallery, file, f"d{i % 20}", 0.5 + i / 100)
    assert gallery.held <= 3 + 3 + 2 * 20
    assert len(gallery.items()) == 5
