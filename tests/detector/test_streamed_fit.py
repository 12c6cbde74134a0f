"""A fit of more images than are held out is that of all of them, whatever is kept of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchebm.config.features import FeaturesConfig
from patchebm.detector import EnsembleDetector, training_set
from patchebm.detector.position_level import PositionLevel
from patchebm.detector.training_set import Reading
from patchebm.energy.moments import Moments
from patchebm.energy.position_gaussian import PositionGaussian
from tests.tiny import flanges, tiny_features

IMAGES, KEPT = 40, 12
ONE_MAP = 2 * 176 * 64


def closed_form(**calibration: bool) -> FeaturesConfig:
    config = tiny_features("features-fast")
    config.levels = ["position"]
    config.position.network = None
    config.defects.local_checks = 4
    for name, value in calibration.items():
        setattr(config.calibration, name, value)
    config.calibration.members = 5
    config.calibration.folds = 5
    return config


@pytest.fixture(scope="module")
def parts() -> list[NDArray[np.float32]]:
    return flanges(IMAGES)


@pytest.fixture
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_set, "MAX_MAP_BYTES", KEPT * ONE_MAP)


def level_of(detector: EnsembleDetector) -> PositionLevel:
    level = detector.levels_["position"]
    assert isinstance(level, PositionLevel)
    return level


def gaussian_of(detector: EnsembleDetector) -> PositionGaussian:
    gaussian = level_of(detector).gaussian
    assert gaussian is not None
    return gaussian


def maps_of(detector: EnsembleDetector, images: Sequence[NDArray[np.float32]]) -> torch.Tensor:
    """The maps that a fit adds up."""
    inputs = detector.scorer_.inputs
    found = []
    with torch.no_grad():
        for image in images:
            given = inputs.prepare(torch.from_numpy(image)[None].to(detector.scorer_.mean.device))
            found.append(inputs.join(inputs(given))[0].half().float().cpu())  # type: ignore[union-attr]
    return torch.stack(found)


def of_maps(maps: torch.Tensor, like: PositionGaussian) -> PositionGaussian:
    zones = (int(like.zones[0]), int(like.zones[1]))
    return PositionGaussian.from_moments(Moments.of(maps, maps.mean((0, 2, 3)), zones))


def assert_same(found: PositionGaussian, expected: PositionGaussian, x: torch.Tensor) -> None:
    """Equal to the rounding of the half precision in which both are kept."""
    torch.testing.assert_close(found.mean.cpu(), expected.mean, rtol=2e-3, atol=2e-3)
    ours, theirs = found.cpu().residuals(x), expected.residuals(x)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-3


@pytest.mark.usefixtures("_little_room")
def test_images_that_are_not_held_out_are_fitted_on_as_well(parts: list[NDArray[np.float32]]) -> None:
    detector = EnsembleDetector(closed_form()).fit(parts)
    assert len(detector.held_out_.indices) == KEPT
    maps = maps_of(detector, parts)
    assert_same(gaussian_of(detector), of_maps(maps, gaussian_of(detector)), maps[:5])
    # And it can be told from a fit of the sample alone.
    sample = of_maps(maps[torch.from_numpy(detector.held_out_.indices)], gaussian_of(detector))
    with pytest.raises(AssertionError):
        assert_same(gaussian_of(detector), sample, maps[:5])


def test_the_fit_does_not_depend_on_how_many_are_held_out(
    parts: list[NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = EnsembleDetector(closed_form()).fit(parts)
    assert len(serial.held_out_.indices) == IMAGES
    monkeypatch.setattr(training_set, "MAX_MAP_BYTES", KEPT * ONE_MAP)
    streamed = EnsembleDetector(closed_form()).fit(parts)
    new = maps_of(serial, flanges(4, split="test/good"))
    assert_same(gaussian_of(streamed), gaussian_of(serial).cpu(), new)


@pytest.mark.usefixtures("_little_room")
def test_held_out_images_are_scored_without_their_fold_by_all_others(
    parts: list[NDArray[np.float32]],
) -> None:
    detector = EnsembleDetector(closed_form()).fit(parts)
    level, held_out = level_of(detector), detector.held_out_
    maps = maps_of(detector, parts)
    final = gaussian_of(detector)
    # Of so few images each is a fold of its own.
    for row, i in enumerate(held_out.indices.tolist()):
        others = torch.arange(IMAGES) != i
        level.gaussian = of_maps(maps[others], final)
        score = float(level.cpu().score(level.held_out_evidence(maps[i][None])))
        assert score == pytest.approx(held_out.levels["position"][row], abs=0.02)


@pytest.mark.usefixtures("_little_room")
def test_copies_are_taken_out_of_the_sums(parts: list[NDArray[np.float32]]) -> None:
    detector = EnsembleDetector(closed_form())
    # Every third image a second time, among the others.
    copies = parts[::3]
    images = [*copies, *parts]
    reading = detector.read(images, len(images))
    kept = reading.kept["position"]
    distinct = [*range(len(copies)), *(len(copies) + i for i in range(IMAGES) if i % 3)]
    gone = set(range(len(images))) - set(distinct)
    assert {kept.is_held_out(i) for i in gone} == {True, False}
    asked: list[int] = []

    def again(i: int) -> NDArray[np.float32]:
        asked.append(i)
        return images[i]

    left = detector.leave_copies_out(reading, distinct, again)
    # Only what nothing was kept of is read again.
    assert asked == sorted(i for i in gone if not kept.is_held_out(i))
    detector.fit_reading(left)
    maps = maps_of(detector, [images[i] for i in distinct])
    assert_same(gaussian_of(detector), of_maps(maps, gaussian_of(detector)), maps[:5])


@pytest.mark.usefixtures("_little_room")
def test_no_image_of_a_part_that_is_held_out_is_added_up(parts: list[NDArray[np.float32]]) -> None:
    groups: list[str | None] = [f"part {i // 4}" for i in range(IMAGES)]
    reading = EnsembleDetector(closed_form()).read(parts, IMAGES, groups=groups)
    kept = reading.kept["position"]
    held_out = [i for i in range(IMAGES) if kept.is_held_out(i)]
    assert len(held_out) == KEPT
    assert len({groups[i] for i in held_out}) == 3
    assert sums(reading) == IMAGES - KEPT
    # An image that cannot be read shifts the numbers of all that follow; the part is asked for.
    shifted = EnsembleDetector(closed_form()).read(
        parts[1:], IMAGES, groups=groups, group_of=lambda i: groups[i + 1]
    )
    kept = shifted.kept["position"]
    assert [i + 1 for i in range(IMAGES - 1) if kept.is_held_out(i)] == [i for i in held_out if i]


@pytest.mark.usefixtures("_little_room")
def test_few_large_parts_are_fitted_on_as_far_as_they_are_held_out(
    parts: list[NDArray[np.float32]],
) -> None:
    groups: list[str | None] = [f"part {i % 2}" for i in range(IMAGES)]
    reading = EnsembleDetector(closed_form()).read(parts, IMAGES, groups=groups)
    assert sums(reading) == 0


@pytest.mark.usefixtures("_little_room")
def test_neighbours_of_images_that_are_held_out_are_not_fitted_on(parts: list[NDArray[np.float32]]) -> None:
    detector = EnsembleDetector(closed_form(consecutive=True)).fit(parts)
    maps = maps_of(detector, parts)[torch.from_numpy(detector.held_out_.indices)]
    assert_same(gaussian_of(detector), of_maps(maps, gaussian_of(detector)), maps[:5])


def sums(reading: Reading) -> int:
    """How many images were added up without being kept."""
    added = reading.kept["position"].sums
    assert added is not None
    moments = added.moments()
    return 0 if moments is None else round(moments.count)
