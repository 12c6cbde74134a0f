"""The ensemble takes a level that the package does not know."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchebm.cli.main import main
from patchebm.config.build import build_config
from patchebm.config.presets import config_text
from patchebm.detector import EnsembleDetector, load
from patchebm.export.build import build_bundle
from patchebm.loading import load as load_any
from tests.three_levels import ThreeLevelsConfig
from tests.tiny import flanges, tiny_features

NAMES = ["position", "image", "texture"]


@pytest.fixture(scope="module")
def config() -> ThreeLevelsConfig:
    tiny: dict[str, Any] = {key: value for key, value in asdict(tiny_features()).items() if key != "levels"}
    config = build_config(tiny | {"kind": "tests.three_levels:ThreeLevelsConfig"})
    assert isinstance(config, ThreeLevelsConfig)
    return config


@pytest.fixture(scope="module")
def detector(config: ThreeLevelsConfig) -> EnsembleDetector:
    return EnsembleDetector(config).fit(flanges(9))


def test_it_is_fitted_beside_the_others(detector: EnsembleDetector, fitted: EnsembleDetector) -> None:
    assert list(detector.levels_) == NAMES
    image = flanges(1, split="test/good")[0]
    (three,), (two,) = detector.predict([image]), fitted.predict([image])
    assert list(three.levels) == list(three.level_maps) == NAMES
    # The others are what they are without it.
    for name in ("position", "image"):
        assert three.levels[name] == two.levels[name]
        np.testing.assert_array_equal(three.level_maps[name], two.level_maps[name])
    assert three.heat_map is not None
    np.testing.assert_allclose(
        three.heat_map, (three.level_maps["position"] + three.level_maps["texture"]) / 2, rtol=1e-5, atol=1e-5
    )
    scorer = detector.scorer_
    assert scorer.weights is not None
    total = float(np.dot(list(three.levels.values()), scorer.weights))
    combined = (total - float(scorer.mean)) / float(scorer.std)
    assert three.score == pytest.approx(combined, abs=1e-4)
    assert detector.calibration_.level_names == tuple(NAMES)


def test_it_is_saved_loaded_calibrated_and_exported(
    detector: EnsembleDetector, config: ThreeLevelsConfig, images: list[Path], tmp_path: Path
) -> None:
    detector.save(tmp_path / "run")
    restored = load(tmp_path / "run")
    assert restored.config == config
    expected = restored.predict(images)
    assert [one.record() for one in expected] == [one.record() for one in detector.predict(images)]
    for form in ("onnx", "openvino"):
        file = tmp_path / f"{form}.patchebm"
        build_bundle(restored, verify=images[:3], form=form).write(file)
        for a, b in zip(load_any(file).predict(images[:3]), expected, strict=False):
            assert list(a.levels) == list(a.level_maps) == NAMES
            assert a.score == pytest.approx(b.score, abs=1e-3, rel=1e-5)
            np.testing.assert_allclose(a.level_maps["texture"], b.level_maps["texture"], atol=2e-3)
    restored.calibrate(flanges(8, split="test/good"))
    assert list(restored.levels_) == NAMES


def test_the_command_line_trains_and_predicts_with_it(
    config: ThreeLevelsConfig, data: Path, tmp_path: Path
) -> None:
    config_file, out = tmp_path / "three.yaml", tmp_path / "run"
    config_file.write_text(config_text(config))
    assert main(["train", str(data), "--out", str(out), "--config", str(config_file)]) == 0
    good = str(data / "test" / "good")
    assert main(["predict", str(out), good, "--json", str(tmp_path / "p.json")]) == 0
    assert all(list(one["levels"]) == NAMES for one in json.loads((tmp_path / "p.json").read_text()))
    # Its energy has no network, and so no log.
    assert sorted(folder.name for folder in (out / "training").iterdir()) == ["position"]


def test_it_alone_makes_a_detector(config: ThreeLevelsConfig) -> None:
    alone = build_config(asdict(config), {"levels": ["texture"]})
    detector = EnsembleDetector(alone).fit(flanges(9))
    (prediction,) = detector.predict(flanges(1))
    assert list(prediction.levels) == ["texture"]
