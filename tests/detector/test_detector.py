"""The contract of detectors, on features and on pixels: what a score must not depend on, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchebm.config.base import RunConfig
from patchebm.config.features import FeaturesConfig
from patchebm.config.presets import config_text
from patchebm.detector import EnsembleDetector, ImageDetector, PatchDetector, load
from patchebm.errors import ConfigError, DataError, ImageError, PatchebmError
from patchebm.features.extractor import FeatureExtractor
from tests.tiny import flanges, tiny_config, tiny_features

Image = NDArray[np.float32]
CONFIGS: dict[str, Callable[..., RunConfig]] = {"features": tiny_features, "pixels": tiny_config}


@pytest.fixture(params=["features", "pixels"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def detector(kind: str, fitted: EnsembleDetector, fitted_pixels: EnsembleDetector) -> EnsembleDetector:
    return fitted if kind == "features" else fitted_pixels


def test_the_recommendation_is_the_default() -> None:
    detector = EnsembleDetector()
    assert detector.config == FeaturesConfig()
    detector.check()


def test_one_seed_gives_one_detector_and_the_configuration_stays(
    kind: str, detector: EnsembleDetector
) -> None:
    config = CONFIGS[kind]()
    # As text, since numbers of other types are equal and cannot be written.
    before = config_text(config)
    again = EnsembleDetector(config).fit(flanges(9))
    assert config_text(config) == before
    other = EnsembleDetector(CONFIGS[kind](seed=1)).fit(flanges(9))
    new = flanges(2, split="test/good")
    assert np.array_equal(detector.score(new), again.score(new))
    assert not np.allclose(detector.score(new), other.score(new))


def test_a_score_depends_neither_on_order_nor_on_company(detector: EnsembleDetector) -> None:
    images = flanges(20, split="test/good")
    together = detector.score(images)
    backwards = detector.score(images[::-1])[::-1]
    alone = np.concatenate([detector.score([image]) for image in images])
    np.testing.assert_allclose(together, backwards, atol=1e-4)
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_predictions_carry_verdicts_levels_and_maps_of_the_images_size(detector: EnsembleDetector) -> None:
    image = flanges(1)[0][:50, :40]
    prediction = detector.predict([image])[0]
    names = ["position", "image"] if isinstance(detector.config, FeaturesConfig) else ["patch", "image"]
    assert list(prediction.levels) == list(prediction.level_maps) == names
    assert prediction.anomalous == (prediction.score > detector.threshold_.value)
    assert prediction.heat_map is not None
    for one in (prediction.heat_map, *prediction.level_maps.values()):
        assert one.shape == (50, 40)
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
    # The coarse map of features does not localise.
    localising = names[:1] if names[0] == "position" else names
    mean = sum(prediction.level_maps[name] for name in localising) / len(localising)
    np.testing.assert_allclose(prediction.heat_map, mean, rtol=1e-5, atol=1e-5)
    assert json.loads(json.dumps(prediction.record()))["image"] == "image 0"
    without = detector.predict([image], heat_maps=False)[0]
    assert without.heat_map is None
    assert not without.level_maps
    assert without.score == pytest.approx(prediction.score, abs=1e-5)


def test_normal_scores_are_standardised_and_out_of_sample(detector: EnsembleDetector) -> None:
    # Two of three folds are held out once each.
    assert len(detector.tail_.scores) == 6
    assert detector.tail_.scores.mean() == pytest.approx(0, abs=1e-9)
    assert detector.tail_.scores.std(ddof=1) == pytest.approx(1)
    # The energies were fitted on most of these images: in sample, they score lower.
    assert detector.score(flanges(9)).mean() < -0.3


def test_a_verdict_is_a_tail_probability_below_the_rate(detector: EnsembleDetector) -> None:
    images = [*flanges(3, split="test/good"), *flanges(3, "missing")]
    for rate in (0.05, 0.3):
        other = detector.at_false_alarm_rate(rate)
        for prediction in other.predict(images, heat_maps=False):
            assert prediction.anomalous == (prediction.tail_probability <= rate)
            assert prediction.extrapolated == (prediction.score > detector.tail_.scores[-1])
    assert detector.threshold_.false_alarm_rate == 0.05


def test_saving_and_loading_changes_nothing(detector: EnsembleDetector, tmp_path: Path) -> None:
    detector.save(tmp_path, {"image_set": "flange"})
    restored = load(tmp_path)
    images = flanges(2, split="test/good")
    for a, b in zip(detector.predict(images), restored.predict(images), strict=True):
        assert a.record() == b.record()
        assert np.array_equal(a.heat_map, b.heat_map)  # type: ignore[arg-type]
    assert restored.threshold_ == detector.threshold_
    assert restored.calibration_.to_dict() == detector.calibration_.to_dict()
    assert restored.config == detector.config
    assert restored.card_ == {"image_set": "flange"}
    # Whoever saves the same again gets the same bytes.
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    restored.save(tmp_path, restored.card_)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_calibrating_again_follows_another_camera(detector: EnsembleDetector, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def noisy(image: Image) -> Image:
        return np.clip(image + rng.normal(0, 0.1, image.shape), 0, 1).astype(np.float32)

    detector.save(tmp_path)
    own = load(tmp_path)
    new = [noisy(image) for image in flanges(12, split="test/good")]
    before = own.score(new[8:])
    assert own.calibrate(new[:8], false_alarm_rate=0.2) is own
    after = own.score(new[8:])
    assert abs(before.mean()) > 1.5 > abs(after.mean())
    assert own.threshold_.false_alarm_rate == 0.2
    assert own.tail_.parts == 8
    own.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).score(new[8:]), after)
    # Images of one part count as one.
    own.calibrate(new[:8], [str(i // 2) for i in range(8)])
    assert own.tail_.parts == 4
    assert own.threshold_.false_alarm_rate == 0.2
    with pytest.raises(DataError, match="5 good images are too few"):
        own.calibrate(new[:5])
    with pytest.raises(DataError, match="2 groups were given for 8 images"):
        own.calibrate(new[:8], ["a", "b"])
    with pytest.raises(ConfigError, match="false_alarm_rate 2"):
        own.calibrate(new[:8], false_alarm_rate=2)


def test_what_a_fit_keeps_of_an_image_says_what_the_image_says(detector: EnsembleDetector) -> None:
    """A fit scores what it kept, in half precision; prediction scores the image, by folded resizes."""
    scorer = detector.scorer_
    for image in flanges(3, split="test/good"):
        with torch.no_grad():
            given = scorer.inputs(scorer.prepare(torch.from_numpy(image)[None]))
            kept = scorer.inputs.join(given) if isinstance(scorer.inputs, FeatureExtractor) else given
            for level in detector.levels_.values():
                expected = level.evidence(given)
                found = level.held_out_evidence(level.held_out_view(kept[0].cpu())[None])
                # In standard deviations of good images.
                assert float((level.score(found) - level.score(expected)).abs().max()) < 0.02
                assert float((level.map(found) - level.map(expected)).abs().max()) < 0.02


@pytest.mark.parametrize(("only", "names"), [(PatchDetector, {"patch"}), (ImageDetector, {"image"})])
def test_single_levels(only: type[EnsembleDetector], names: set[str], kind: str, tmp_path: Path) -> None:
    detector = only(CONFIGS[kind]()).fit(flanges(6))
    assert set(detector.levels_) == names
    detector.save(tmp_path)
    new = flanges(2, split="test/good")
    restored = load(tmp_path)
    assert np.array_equal(restored.score(new), detector.score(new))
    (prediction,) = restored.predict(new[:1])
    assert set(prediction.levels) == set(prediction.level_maps) == names
    # One level is the ensemble.
    assert prediction.score == pytest.approx(*prediction.levels.values(), abs=1e-5)


def test_refit_scores_by_an_energy_of_all_images(fitted_pixels: EnsembleDetector) -> None:
    config = tiny_config()
    config.calibration.refit = ["patch"]
    detector = EnsembleDetector(config).fit(flanges(9))
    assert [len(level.energies) for level in detector.levels_.values()] == [1, 2]
    # Calibration still comes from the energies that were not fitted on what they score.
    np.testing.assert_array_equal(detector.tail_.scores, fitted_pixels.tail_.scores)
    new = flanges(1, split="test/good")
    assert detector.score(new) != fitted_pixels.score(new)


def test_groups_are_held_out_together() -> None:
    config = tiny_config()
    config.levels = ["image"]
    config.image.network = None
    config.calibration.members = 3
    # Each part is photographed three times, the shots alike: out of sample only if the part is.
    shots = [image for image in flanges(4) for _ in range(3)]
    groups = [f"part {i // 3}" for i in range(12)]
    grouped = ImageDetector(config).fit(shots, groups)
    loose = ImageDetector(config).fit(shots)
    assert float(grouped.levels_["image"].shift) < float(loose.levels_["image"].shift)
    assert grouped.threshold_.parts == 4
    with pytest.raises(DataError, match="2 groups were given for 12 images"):
        ImageDetector(config).fit(shots, ["a", "b"])


def test_identical_and_constant_images_do_not_break_it(kind: str) -> None:
    config = CONFIGS[kind]()
    same = EnsembleDetector(config).fit([flanges(1)[0]] * 6)
    scores = same.score([*flanges(1), *flanges(1, "hole", "test/hole")])
    assert np.isfinite(scores).all()
    assert scores[1] > scores[0]
    constant = np.full((64, 64, 3), 0.5, dtype=np.float32)
    assert np.isfinite(EnsembleDetector(config).fit([constant] * 6).score(flanges(1))).all()


def test_a_constant_image_has_a_score(detector: EnsembleDetector) -> None:
    for value in (0.0, 0.5, 1.0):
        constant = np.full((64, 64, 3), value, dtype=np.float32)
        assert np.isfinite(detector.score([constant])).all()


def test_grey_and_colour_images_meet(kind: str, detector: EnsembleDetector) -> None:
    colour = flanges(8)
    grey = [image[: 40 + i, : 60 - i].mean(2, keepdims=True) for i, image in enumerate(colour)]
    own = EnsembleDetector(CONFIGS[kind]()).fit(grey)
    assert np.isfinite(own.score([*grey, *colour])).all()
    prediction = detector.predict([grey[3]])[0]
    assert prediction.heat_map is not None
    assert prediction.heat_map.shape == (43, 57)
    mixed = EnsembleDetector(CONFIGS[kind]()).fit([*grey[:4], *colour[4:]])
    assert np.isfinite(mixed.score([*grey[:1], *colour[:1]])).all()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((9, 9, 4), np.float32), "shape"),
        (np.zeros((0, 9, 3), np.float32), "shape"),
        (np.zeros((2, 9, 9, 3), np.float32), "shape"),
        (np.zeros((5, 9, 3), np.float32), "too few to score"),
        (np.zeros((9, 9, 3), np.int32), "dtype"),
        (np.full((9, 9, 3), np.nan, np.float32), "NaN"),
        (np.full((9, 9, 3), 200.0, np.float32), "scale"),
    ],
)
def test_bad_arrays_are_named(detector: EnsembleDetector, bad: np.ndarray, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ImageError, match=f"image 1 .*{words}"):
        detector.score([flanges(1)[0], bad])
    with pytest.raises(ImageError, match=f"image 2 .*{words}"):
        EnsembleDetector(detector.config).fit([*flanges(2), bad, *flanges(4)])


def test_every_kind_of_image_may_be_fitted_on(kind: str, detector: EnsembleDetector, tmp_path: Path) -> None:
    """Files, bytes of files, Pillow images and arrays of bytes are the same image."""
    import io

    from PIL import Image as Pillow

    pixels = [np.rint(image * 255).astype(np.uint8) for image in flanges(9)]
    for i, one in enumerate(pixels):
        Pillow.fromarray(one).save(tmp_path / f"{i}.png")
    content = io.BytesIO()
    Pillow.fromarray(pixels[2]).save(content, "PNG")
    images = [
        tmp_path / "0.png",
        str(tmp_path / "1.png"),
        content.getvalue(),
        Pillow.fromarray(pixels[3]),
        *pixels[4:],
    ]
    own = EnsembleDetector(CONFIGS[kind]()).fit(images)
    new = flanges(2, split="test/good")
    np.testing.assert_array_equal(own.score(new), detector.score(new))


def test_too_few_images_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match="too few"):
        EnsembleDetector(CONFIGS[kind]()).fit(flanges(3))


def test_a_detector_that_is_not_fitted_says_so(kind: str, tmp_path: Path) -> None:
    own = EnsembleDetector(CONFIGS[kind]())
    for call in (
        lambda: own.score(flanges(1)),
        lambda: own.save(tmp_path),
        lambda: own.calibrate(flanges(8)),
        lambda: own.levels_,
    ):
        with pytest.raises(PatchebmError, match="not fitted"):
            call()
    assert not list(tmp_path.iterdir())


def test_an_unknown_device_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="device tpu is none that patchebm knows"):
        EnsembleDetector(tiny_config(), device="tpu").fit(["nowhere.png"] * 9)
