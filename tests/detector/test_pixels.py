"""Detectors on pixels, as in the thesis."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchebm.config.pixels import PixelsConfig
from patchebm.config.presets import load_preset
from patchebm.detector import EnsembleDetector, ImageDetector, PatchDetector, load
from patchebm.errors import ConfigError, TrainingError
from patchebm.features.module_backbone import ModuleBackbone
from tests.tiny import flanges, tiny_config


def test_a_glaring_defect_scores_high_and_is_shown_where_it_is() -> None:
    config = tiny_config()
    config.patch.network = config.image.network = None
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


@pytest.mark.parametrize("negatives", ["informative", "corrupted", "uniform"])
@pytest.mark.parametrize("sampler", [None, "pyld", "sgld"])
def test_every_kind_of_negatives_and_sampler_trains(negatives: str, sampler: str | None) -> None:
    moves: Any = None if sampler is None else {"kind": sampler, "buffer_size": 10}
    network = {
        "negatives": {"kind": negatives},
        "sampler": moves,
        "training": {"steps": 2, "batch_size": 4},
    }
    changes = {
        "calibration": {"folds": 3, "members": 1},
        "patch": {"view": {"grid": 4}, "network": network},
    }
    config = load_preset("pixel-cpu", changes)
    detector = PatchDetector(config).fit(flanges(6))
    assert np.isfinite(detector.score(flanges(2))).all()


def test_grey_images_alone_make_a_grey_model(tmp_path: Path) -> None:
    colour = flanges(8)
    grey = [image.mean(2, keepdims=True) for image in colour]
    detector = ImageDetector(tiny_config()).fit(grey)
    detector.save(tmp_path)
    luma = [(image @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, None] for image in colour]
    for own in (detector, load(tmp_path)):
        # Colour counts by its luma.
        np.testing.assert_allclose(own.score(colour), own.score(luma), atol=1e-3, rtol=1e-4)
    sizes = [tensor.shape for tensor in detector.levels_["image"].energies[0].state_dict().values()]
    assert (1, 32 * 32) in sizes


def test_a_last_step_that_diverges_is_noticed() -> None:
    config = tiny_config()
    assert config.patch.network is not None
    training = config.patch.network.training
    training.lr, training.steps, training.warmup, training.gradient_clip = 1e6, 1, 0, 0.0
    with pytest.raises(TrainingError, match="diverged"):
        EnsembleDetector(config).fit(flanges(9))


def test_training_and_test_images_may_differ_in_size() -> None:
    config = tiny_config()
    config.patch.base.per_position = False  # type: ignore[union-attr]
    config.patch.view.train_size, config.patch.view.test_size = (24, 40), (64, 64)
    assert np.isfinite(PatchDetector(config).fit(flanges(6)).score(flanges(1))).all()


def test_what_needs_features_is_refused() -> None:
    from torch import nn

    backbone = ModuleBackbone(nn.Sequential(nn.Conv2d(3, 8, 4, 4)), ["0"], "mine", multiple=8)
    with pytest.raises(ConfigError, match="start from the preset features"):
        EnsembleDetector(tiny_config(), backbone).check()
    with pytest.raises(ConfigError, match="needs features"):
        EnsembleDetector(tiny_config()).fit(flanges(9), roi=np.ones((64, 64), dtype=bool))


def test_real_photographs(real_data: Path) -> None:
    paths = sorted((real_data / "bottle" / "train" / "good").iterdir())[:10]
    detector = EnsembleDetector(tiny_config()).fit(paths)
    broken = sorted((real_data / "bottle" / "test" / "broken_large").iterdir())[:3]
    good = sorted((real_data / "bottle" / "test" / "good").iterdir())[:3]
    assert detector.score(broken).mean() > detector.score(good).mean()


@pytest.mark.parametrize("preset", ["thesis", "jempp"])
def test_the_thesis_network_trains_a_step_at_reduced_size(preset: str) -> None:
    view = {"train_size": [48, 48], "test_size": [64, 64], "patch": 16, "grid": 2}
    network = {"width": 1, "sampler": {"buffer_size": 20}, "training": {"steps": 1, "batch_size": 4}}
    changes = {"levels": ["patch"], "patch": {"view": view, "network": network}}
    config = load_preset(preset, changes)
    assert isinstance(config, PixelsConfig)
    assert config.patch.network is not None
    assert config.patch.network.depth == 28
    scores = PatchDetector(config).fit(flanges(6)).score(flanges(1))
    assert np.isfinite(scores).all()


def test_chains_of_the_small_thesis_move(tmp_path: Path) -> None:
    training = {"steps": 10, "batch_size": 4}
    changes = {
        "levels": ["image"],
        "image": {"network": {"sampler": {"buffer_size": 8}, "training": training}},
    }
    config = load_preset("thesis-small", changes)
    scores = EnsembleDetector(config).fit(flanges(6), folder=tmp_path).score(flanges(2))
    assert np.isfinite(scores).all()
    (curves,) = tmp_path.rglob("metrics.csv")
    (point,) = csv.DictReader(curves.open())
    # A hundredth of what one grey level of 8 bits is.
    assert float(point["chains/distance"]) > 1e-4
    assert float(point["chains/gradient_norm"]) > 1e-3
    assert float(point["chains/descent"]) > 0
