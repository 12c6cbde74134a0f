"""Fits of one to five good images: they work, and say how little they can promise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from patchebm.config.features import FeaturesConfig
from patchebm.detector import EnsembleDetector, load
from patchebm.errors import DataError
from patchebm.export.build import build_bundle
from patchebm.loading import load as load_any
from patchebm.runtime.calibration import Calibration
from tests.tiny import flanges, tiny_features


def config(*, network: bool = False) -> FeaturesConfig:
    run = tiny_features()
    run.levels = ["position"]
    run.position.folds = 6
    run.calibration.folds = run.calibration.members = 5
    if not network:
        run.position.network = None
    return run


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_images_make_a_model(n: int, network: bool, tmp_path: Path) -> None:
    detector = EnsembleDetector(config(network=network)).fit(flanges(n))
    threshold = detector.threshold_
    assert (threshold.normals, threshold.parts) == (n, n)
    assert threshold.supported_rate == pytest.approx(1 / (n + 1))
    assert threshold.extrapolated
    assert threshold.guess == (n == 1)
    assert detector.variations_ is not None
    assert detector.held_out_.indices.tolist() == list(range(n))
    good, bad = flanges(6, split="test/good"), flanges(6, "missing", "test")
    scores = [detector.score(images) for images in (good, bad)]
    assert np.isfinite(scores).all()
    assert np.median(scores[1]) > np.median(scores[0])
    detector.save(tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.score(good), scores[0])
    assert again.threshold_ == threshold


def test_one_image_is_called_a_guess_everywhere(images: list[Path], tmp_path: Path) -> None:
    detector = EnsembleDetector(config()).fit(flanges(1))
    assert "is a guess: a single good image does not show how good parts differ" in (
        detector.threshold_.describe()
    )
    assert detector.expectation() is None
    # What no image of this part has shown is an estimate, however common it is.
    assert all(one.extrapolated for one in detector.predict(flanges(3, split="test/good")))
    assert 0 < detector.tail_.probability(0.0) < 1
    other = detector.at_false_alarm_rate(0.2)
    assert other.threshold_.guess
    assert other.threshold_.value < detector.threshold_.value
    restored = Calibration.from_dict(detector.calibration_.to_dict())
    assert restored.threshold == detector.threshold_
    assert restored.tail.guess
    file = tmp_path / "part.patchebm"
    build_bundle(detector, verify=images[:2]).write(file)
    assert load_any(file).threshold_ == detector.threshold_
    # Good images of a calibration show what the one did not.
    detector.calibrate(flanges(8, split="another day"))
    assert not detector.threshold_.guess
    assert detector.threshold_.parts == 8


def test_versions_count_as_one_image() -> None:
    """From twenty images on there are none, and scores stay what they were; a group is held out as one."""
    detector = EnsembleDetector(config())
    reading = detector.read(flanges(4), 4)
    kept = reading.kept["position"]
    assert [len(own) for own in kept.versions] == [8] * 4
    assert all(one.version <= 8 for own in kept.damaged for one in own)
    enough = EnsembleDetector(config()).read(flanges(20), 20)
    assert enough.variations is None
    assert not any(enough.kept["position"].versions)


def test_parts_that_lie_turned_are_fitted_turned() -> None:
    rng = np.random.default_rng(0)
    bar = np.full((64, 64, 3), 0.1, np.float32)
    bar[28:36, 8:40] = 0.9
    images = [np.rot90(bar, k) + 0.01 * rng.random((64, 64, 3), np.float32) for k in range(4)]
    detector = EnsembleDetector(config()).fit(images)
    assert detector.variations_ is not None
    assert detector.variations_.turned


def test_images_of_one_part_are_refused_and_of_two_are_not() -> None:
    with pytest.raises(DataError, match=r"4 good images of 1 part are too few .* at least two parts"):
        EnsembleDetector(config()).fit(flanges(4), ["a"] * 4)
    detector = EnsembleDetector(config()).fit(flanges(4), ["a", "a", "b", "b"])
    assert detector.threshold_.parts == 2
    assert asdict(detector.threshold_)["guess"] is False


def test_levels_that_need_more_images_say_so() -> None:
    run = config()
    run.levels = ["position", "image"]
    with pytest.raises(DataError, match=r"5 good images .* give at least 6"):
        EnsembleDetector(run).fit(flanges(5))


def test_images_of_two_products_give_a_wide_threshold_and_no_fault() -> None:
    """Half of the images show something else: nothing is silently called good for it."""
    other = [np.ascontiguousarray(1 - image[::-1]) for image in flanges(2)]
    detector = EnsembleDetector(config()).fit([*flanges(2), *other])
    assert np.isfinite(detector.held_out_.scores).all()
    noise = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    assert detector.score([noise])[0] > detector.held_out_.scores.max()
