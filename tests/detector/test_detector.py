"""The detectors' contract, model files, and what a score must not depend on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from patchebm.config.parser import load_preset
from patchebm.detector import EnsembleDetector, ImageDetector, PatchDetector, load
from patchebm.detector.modelfile import load_model, save_model
from patchebm.errors import ConfigError, DataError, ImageError, ModelFileError, PatchebmError, TrainingError
from tests.tiny import flanges, tiny_config


@pytest.fixture(scope="module")
def fitted() -> EnsembleDetector:
    return EnsembleDetector(tiny_config()).fit(flanges(9))


@pytest.fixture(scope="module")
def saved(fitted: EnsembleDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    fitted.save(folder)
    return folder


def test_fitting_leaves_the_configuration_alone() -> None:
    config = tiny_config()
    before = asdict(config)
    EnsembleDetector(config).fit(flanges(6))
    assert asdict(config) == before


def test_one_seed_gives_one_detector(fitted: EnsembleDetector) -> None:
    again = EnsembleDetector(tiny_config()).fit(flanges(9))
    other = EnsembleDetector(tiny_config(seed=1)).fit(flanges(9))
    new = flanges(2, split="test/good")
    assert np.array_equal(fitted.score(new), again.score(new))
    assert not np.array_equal(fitted.score(new), other.score(new))


def test_a_score_depends_neither_on_order_nor_on_company(fitted: EnsembleDetector) -> None:
    images = flanges(20, split="test/good")
    together = fitted.score(images)
    backwards = fitted.score(images[::-1])[::-1]
    alone = np.concatenate([fitted.score([image]) for image in images])
    np.testing.assert_allclose(together, backwards, atol=1e-4)
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_predictions_carry_verdicts_levels_and_maps_of_the_images_size(fitted: EnsembleDetector) -> None:
    image = flanges(1)[0][:50, :40]
    prediction = fitted.predict([image])[0]
    assert set(prediction.levels) == {"patch", "image"}
    assert prediction.anomalous == (prediction.score > fitted.threshold_.value)
    assert prediction.heat_map is not None
    assert prediction.heat_map.shape == (50, 40)
    assert np.isfinite(prediction.heat_map).all()
    assert json.loads(json.dumps(prediction.record()))["image"] == "image 0"


def test_normal_scores_are_standardised_and_out_of_sample(fitted: EnsembleDetector) -> None:
    # Two of three folds are held out once each.
    assert len(fitted.tail_.scores) == 6
    assert fitted.tail_.scores.mean() == pytest.approx(0, abs=1e-9)
    assert fitted.tail_.scores.std(ddof=1) == pytest.approx(1)


def test_a_verdict_is_a_tail_probability_below_the_rate(fitted: EnsembleDetector) -> None:
    images = [*flanges(3, split="test/good"), *flanges(3, "missing")]
    for rate in (0.05, 0.3):
        detector = fitted.at_false_alarm_rate(rate)
        for prediction in detector.predict(images, heat_maps=False):
            assert prediction.anomalous == (prediction.tail_probability <= rate)
            assert prediction.extrapolated == (prediction.score > fitted.tail_.scores[-1])
    assert fitted.threshold_.false_alarm_rate == 0.05


def test_refit_scores_by_an_energy_of_all_images() -> None:
    config = tiny_config()
    config.calibration.refit = ["patch"]
    detector = EnsembleDetector(config).fit(flanges(9))
    assert [len(level.members_) for level in detector.levels_.values()] == [1, 2]
    # Calibration still comes from the energies that did not see the images they judge.
    members = EnsembleDetector(tiny_config()).fit(flanges(9))
    np.testing.assert_array_equal(detector.tail_.scores, members.tail_.scores)
    assert detector.score(flanges(1, split="test/good")) != members.score(flanges(1, split="test/good"))


def test_calibrating_anew_follows_another_camera(fitted: EnsembleDetector, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def noisy(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(image + rng.normal(0, 0.1, image.shape), 0, 1).astype(np.float32)

    fitted.save(tmp_path)
    detector = load(tmp_path)
    new = [noisy(image) for image in flanges(12, split="test/good")]
    before = detector.score(new[8:])
    assert detector.calibrate(new[:8], false_alarm_rate=0.2) is detector
    after = detector.score(new[8:])
    assert abs(before.mean()) > 1.5 > abs(after.mean())
    assert detector.threshold_.false_alarm_rate == 0.2
    assert detector.tail_.parts == 8
    detector.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).score(new[8:]), after)
    with pytest.raises(DataError, match="5 good images are too few"):
        detector.calibrate(new[:5])
    with pytest.raises(ConfigError, match="false_alarm_rate 2"):
        detector.calibrate(new[:8], false_alarm_rate=2)
    with pytest.raises(PatchebmError, match="not fitted"):
        EnsembleDetector(tiny_config()).calibrate(new)


def test_a_glaring_defect_scores_high_and_is_shown_where_it_is() -> None:
    config = tiny_config()
    for level in (config.patch, config.image):
        level.energy.kind = "gaussian"
    config.patch.view.grid = 13
    detector = EnsembleDetector(config).fit(flanges(12))
    defective = flanges(1, split="test/good")[0].copy()
    defective[10:20, 40:50] = [1.0, 0.0, 0.0]
    prediction = detector.predict([defective])[0]
    # Six good images cannot show a rate of 0.05, and the tail that stands in is cautious.
    assert detector.threshold_.extrapolated
    assert detector.at_false_alarm_rate(0.15).predict([defective])[0].anomalous
    assert prediction.score > detector.score(flanges(6, split="test/good")).max()
    assert prediction.heat_map is not None
    row, column = np.unravel_index(prediction.heat_map.argmax(), prediction.heat_map.shape)
    low, high = detector.heat_range(prediction.heat_map)
    assert low < prediction.heat_map.max() <= high
    assert 4 <= row <= 26
    assert 34 <= column <= 56


@pytest.mark.parametrize(("kind", "names"), [(PatchDetector, {"patch"}), (ImageDetector, {"image"})])
def test_single_levels(kind: type[EnsembleDetector], names: set[str], tmp_path: Path) -> None:
    detector = kind(tiny_config()).fit(flanges(6))
    assert set(detector.levels_) == names
    detector.save(tmp_path)
    new = flanges(2, split="test/good")
    assert np.array_equal(load(tmp_path).score(new), detector.score(new))


@pytest.mark.parametrize("kind", ["network", "gaussian", "tilted"])
@pytest.mark.parametrize("per_position", [False, True])
@pytest.mark.parametrize("tilt", [False, True])
def test_every_energy_survives_saving(kind: str, per_position: bool, tilt: bool, tmp_path: Path) -> None:
    config = tiny_config()
    for level in (config.patch, config.image):
        level.energy.kind = kind  # type: ignore[assignment]
        level.energy.tilt = tilt
        level.chains.steps = 2
    config.patch.energy.gaussian.per_position = per_position
    config.image.energy.sees_gradient = tilt
    detector = EnsembleDetector(config).fit(flanges(6))
    detector.save(tmp_path)
    restored = load(tmp_path)
    images = flanges(2, split="test/good")
    for a, b in zip(detector.predict(images), restored.predict(images), strict=True):
        assert a.record() == b.record()
        assert np.array_equal(a.heat_map, b.heat_map)  # type: ignore[arg-type]
    assert restored.threshold_ == detector.threshold_


@pytest.mark.parametrize("start", ["informative", "corrupted", "uniform"])
@pytest.mark.parametrize("sampler", ["pyld", "sgld"])
def test_every_start_and_sampler_trains(start: str, sampler: str) -> None:
    config = tiny_config()
    config.levels = ["patch"]
    config.patch.chains.start = start  # type: ignore[assignment]
    config.patch.chains.sampler = sampler  # type: ignore[assignment]
    config.patch.chains.steps, config.patch.chains.buffer_size = 2, 10
    scores = PatchDetector(config).fit(flanges(6)).score(flanges(2))
    assert np.isfinite(scores).all()


def test_grey_and_colour_images_meet(fitted: EnsembleDetector) -> None:
    colour = flanges(8)
    grey = [image.mean(2, keepdims=True) for image in colour]
    assert np.isfinite(fitted.score(grey)).all()
    detector = ImageDetector(tiny_config()).fit(grey)
    assert detector.channels_ == 1
    assert np.isfinite(detector.score(colour)).all()


def test_identical_and_constant_images_do_not_break_it(fitted: EnsembleDetector) -> None:
    same = [flanges(1)[0]] * 6
    detector = EnsembleDetector(tiny_config()).fit(same)
    scores = detector.score([*same[:1], *flanges(1, "hole", "test/hole")])
    assert np.isfinite(scores).all()
    assert scores[1] > scores[0]
    constant = np.full((64, 64, 3), 0.5, dtype=np.float32)
    assert np.isfinite(fitted.score([constant])).all()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((5, 5), np.float32), "shape"),
        (np.zeros((5, 5, 4), np.float32), "shape"),
        (np.zeros((0, 5, 3), np.float32), "shape"),
        (np.zeros((5, 5, 3), np.uint8), "dtype"),
        (np.full((5, 5, 3), np.nan, np.float32), "NaN"),
        (np.full((5, 5, 3), 200.0, np.float32), "scale"),
    ],
)
def test_bad_arrays_are_named(fitted: EnsembleDetector, bad: np.ndarray, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ImageError, match=f"image 1 .*{words}"):
        fitted.score([flanges(1)[0], bad])


def test_a_detector_that_is_not_fitted_says_so(tmp_path: Path) -> None:
    with pytest.raises(PatchebmError, match="not fitted"):
        EnsembleDetector(tiny_config()).score(flanges(1))
    with pytest.raises(PatchebmError, match="not fitted"):
        EnsembleDetector(tiny_config()).save(tmp_path)


def test_facts_that_json_cannot_hold_leave_the_old_model_whole(
    fitted: EnsembleDetector, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        fitted.save(tmp_path, {"bad": float("nan")})
    assert load(tmp_path)


def test_a_last_step_that_diverges_is_noticed() -> None:
    config = tiny_config()
    config.patch.training.lr, config.patch.training.steps = 1e6, 1
    config.patch.training.warmup, config.patch.training.gradient_clip = 0, 0.0
    with pytest.raises(TrainingError, match="diverged"):
        EnsembleDetector(config).fit(flanges(9))


def test_training_and_test_images_may_differ_in_size() -> None:
    config = tiny_config()
    config.patch.energy.gaussian.per_position = False
    config.patch.view.train_size, config.patch.view.test_size = (24, 40), (64, 64)
    assert np.isfinite(PatchDetector(config).fit(flanges(6)).score(flanges(1))).all()


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        EnsembleDetector(tiny_config()).fit(flanges(3))


def test_groups_are_held_out_together() -> None:
    config = tiny_config()
    config.levels = ["image"]
    config.image.energy.kind = "gaussian"
    config.calibration.members = 3
    # Each part is photographed three times, the shots alike: out of sample only if the part is.
    shots = [image for image in flanges(4) for _ in range(3)]
    groups = [f"part {i // 3}" for i in range(12)]
    grouped = ImageDetector(config).fit(shots, groups)
    loose = ImageDetector(config).fit(shots)
    assert grouped.levels_["image"].mean_ > loose.levels_["image"].mean_


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
    elif how == "newer":
        card.write_text(json.dumps(facts | {"format_version": 99, "patchebm": "9.9"}))
    elif how == "foreign":
        card.write_text(json.dumps({"hello": 1}))
    elif how == "a number changed":
        facts["facts"]["normal_mean"] = 1e9
        card.write_text(json.dumps(facts))
    elif how == "deep":
        card.write_text("[" * 100_000)
    elif how == "no json":
        card.write_text("{")
    elif how == "unknown key":
        rewrite(folder, lambda own: own["config"]["patch"].update(bogus=1))
    elif how == "inconsistent":
        rewrite(folder, lambda own: own["config"]["patch"]["energy"]["network"].update(width=2))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "truncated or altered"),
        ("altered", "truncated or altered"),
        ("missing", "cannot be read \\(No such file"),
        ("newer", "format 99, written by patchebm 9.9"),
        ("foreign", "no patchebm model"),
        ("no json", "cannot be read"),
        ("a number changed", "was altered"),
        ("deep", "cannot be read"),
        ("unknown key", "bogus"),
        ("inconsistent", "does not fit its tensors"),
    ],
)
def test_a_damaged_model_is_refused_with_the_reason(
    saved: Path, tmp_path: Path, how: str, words: str
) -> None:
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert load(tmp_path)
    damage(tmp_path, how)
    with pytest.raises(ModelFileError, match=words):
        load(tmp_path)


def test_model_files_hold_no_pickle(saved: Path) -> None:
    tensors, card = sorted(saved.iterdir(), key=lambda file: file.suffix, reverse=True)
    assert card.name == "model.json"
    assert tensors.name == json.loads(card.read_text())["tensors"]
    content = tensors.read_bytes()
    # A safetensors file is the length of its JSON header, the header, and nothing but numbers.
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    ends = [facts["data_offsets"][1] for name, facts in header.items() if name != "__metadata__"]
    assert max(ends) == len(content) - 8 - length


def test_real_photographs(real_data: Path) -> None:
    paths = sorted((real_data / "bottle" / "train" / "good").iterdir())[:10]
    detector = EnsembleDetector(tiny_config()).fit(paths)
    broken = sorted((real_data / "bottle" / "test" / "broken_large").iterdir())[:3]
    good = sorted((real_data / "bottle" / "test" / "good").iterdir())[:3]
    assert detector.score(broken).mean() > detector.score(good).mean()


def test_the_thesis_network_trains_a_step_at_reduced_size() -> None:
    for name in ("thesis", "jempp"):
        config = load_preset(name)
        config.levels = ["patch"]
        config.patch.view.train_size, config.patch.view.test_size = (48, 48), (64, 64)
        config.patch.view.patch, config.patch.view.grid = 16, 2
        config.patch.energy.network.width = 1
        config.patch.chains.buffer_size = 20
        config.patch.training.steps, config.patch.training.batch_size = 1, 4
        scores = PatchDetector(config).fit(flanges(6)).score(flanges(1))
        assert np.isfinite(scores).all()
