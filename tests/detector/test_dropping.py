"""Fits leave out what stands apart, and say what they left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from patchebm.detector import EnsembleDetector
from patchebm.detector.dropping import Dropping, fit_dropping
from patchebm.errors import DataError
from tests.tiny import flanges, tiny_features

Image = NDArray[np.float32]
ODD = (4, 11)


def config() -> EnsembleDetector:
    """A detector of the image level, every image of which is held out once."""
    run = tiny_features()
    run.levels = ["image"]
    run.image.network = None
    run.calibration.folds = run.calibration.members = 4
    run.calibration.consecutive = False
    return EnsembleDetector(run)


@pytest.fixture(scope="module")
def images() -> list[Image]:
    """Good parts, and two photographs of something else."""
    images = flanges(24)
    images[ODD[0]] = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    images[ODD[1]] = images[ODD[1]][:, ::-1].transpose(1, 0, 2) * 0.3
    return images


def dropped(
    images: list[Image], drop: object, folders: list[int] | None = None
) -> tuple[EnsembleDetector, Dropping]:
    detector = config()
    reading = detector.read(images, len(images))

    def folder(number: int) -> Path | None:
        if folders is not None:
            folders.append(number)
        return None

    return detector, fit_dropping(detector, reading, [None] * len(images), drop, folder)  # type: ignore[arg-type]


def test_without_it_outliers_are_named_and_kept(images: list[Image]) -> None:
    detector, dropping = dropped(images, None)
    assert dropping == Dropping(list(range(24)), [], False)
    held_out = detector.held_out_
    assert set(held_out.outliers().indices) <= set(ODD)
    assert held_out.outliers().indices
    assert set(held_out.oddest(2)) == set(ODD)
    # The threshold that good parts alone would give is lower.
    without = held_out.threshold_without(ODD, 0.05)
    assert without.value < detector.threshold_.value
    assert without.normals == 22


def test_auto_leaves_out_what_stands_apart_and_fits_the_others(images: list[Image]) -> None:
    folders: list[int] = []
    detector, dropping = dropped(images, "auto", folders)
    assert {one.index for one in dropping.left_out} == set(ODD)
    assert dropping.kept == [i for i in range(24) if i not in ODD]
    assert not dropping.more
    assert folders == list(range(dropping.rounds))
    # The same as if they had never been there.
    alone, nothing = dropped([images[i] for i in dropping.kept], "auto")
    assert nothing.left_out == []
    np.testing.assert_allclose(
        detector.score(flanges(3, split="test/good")), alone.score(flanges(3, split="test/good")), atol=1e-4
    )
    assert detector.threshold_.normals == 22


def test_clean_images_are_all_kept() -> None:
    _, dropping = dropped(flanges(24), "auto")
    assert dropping.kept == list(range(24))


def test_a_number_leaves_out_so_many(images: list[Image]) -> None:
    folders: list[int] = []
    detector, dropping = dropped(images, 3, folders)
    assert len(dropping.left_out) == 3
    assert set(ODD) < {one.index for one in dropping.left_out}
    assert folders == [0, 1]
    assert len(detector.held_out_.scores) == 21
    # In the order of their scores, the oddest first.
    scores = [one.score for one in dropping.left_out]
    assert scores == sorted(scores, reverse=True)


def test_too_many_are_refused(images: list[Image]) -> None:
    with pytest.raises(DataError, match="--drop-outliers 19 would leave 5 of 24 images"):
        dropped(images, 19)


def test_what_is_known_of_held_out_images(images: list[Image]) -> None:
    detector, _ = dropped(images, None)
    held_out = detector.held_out_
    np.testing.assert_array_equal(held_out.indices, np.arange(24))
    np.testing.assert_allclose(np.sort(held_out.scores), detector.tail_.scores)
    assert set(held_out.levels) == {"image"}
    np.testing.assert_array_equal(np.bincount(held_out.folds), [6] * 4)
    # The map of an odd image is hotter than that of any other.
    peaks = {index: float(anomaly_map.max()) for index, anomaly_map in held_out.maps.items()}
    assert set(sorted(peaks, key=lambda index: -peaks[index])[:2]) == set(ODD)
