"""There is one scorer: the detector, its module, ONNX Runtime and OpenVINO say the same of any image.

Scores and maps are in standard deviations of good parts. Images of noise score in the hundreds, of which
float32 has seven digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from patchebm.config.presets import load_preset
from patchebm.detector import EnsembleDetector
from patchebm.export.build import build_bundle
from patchebm.export.graph import onnx_bytes, onnx_model
from patchebm.export.openvino_file import openvino_files
from patchebm.features import tiling
from patchebm.images.reading import read_image
from patchebm.loading import load
from patchebm.runtime.onnx_engine import OnnxEngine
from patchebm.runtime.openvino_engine import OpenVinoEngine
from patchebm.runtime.prediction import Prediction
from patchebm.runtime.predictor import Predictor
from tests.tiny import flanges, tiny_features

SHAPES = [(64, 64, 3), (90, 131, 3), (40, 200, 1), (301, 33, 3), (20, 20, 1), (9, 64, 3)]
STD = 1e-3


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def assert_same(found: Prediction, expected: Prediction) -> None:
    assert found.score == pytest.approx(expected.score, abs=STD, rel=1e-5)
    assert list(found.levels) == list(expected.levels)
    assert list(found.levels.values()) == pytest.approx(list(expected.levels.values()), abs=STD, rel=1e-5)
    assert found.heat_map is not None
    assert expected.heat_map is not None
    np.testing.assert_allclose(found.heat_map, expected.heat_map, atol=STD, rtol=1e-4)
    for name, level_map in expected.level_maps.items():
        np.testing.assert_allclose(found.level_maps[name], level_map, atol=STD, rtol=1e-4)
    assert found.anomalous == expected.anomalous
    assert found.threshold == expected.threshold


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def bundle(request: pytest.FixtureRequest) -> Predictor:
    return load(request.getfixturevalue("bundle_file" if request.param == "onnx" else "openvino_file"))


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_of_any_size(bundle: Predictor, fitted: EnsembleDetector, shape: tuple[int, ...]) -> None:
    image = noise(shape)
    (expected,) = fitted.predict([image])
    assert_same(bundle.predict([image])[0], expected)


def test_images_and_defects(bundle: Predictor, fitted: EnsembleDetector, images: list[Path]) -> None:
    for found, expected in zip(bundle.predict(images), fitted.predict(images), strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_batch_of_three_is_three_images(
    form: str, fitted: EnsembleDetector, request: pytest.FixtureRequest
) -> None:
    file = request.getfixturevalue("bundle_file" if form == "onnx" else "openvino_file")
    images = [noise((50, 70, 3), seed) for seed in range(4)]
    for found, expected in zip(load(file, batch=3).predict(images), fitted.predict(images), strict=True):
        assert_same(found, expected)


@pytest.fixture(scope="module")
def trained(real_data: Path) -> EnsembleDetector:
    """At full size, trained on photographs for a few steps."""
    changes = {"calibration": {"folds": 3, "members": 2}}
    short = {"network": {"training": {"steps": 30, "warmup": 3}}}
    config = load_preset("features", changes, {"patch": short, "image": short})
    return EnsembleDetector(config).fit(sorted((real_data / "bottle" / "train" / "good").iterdir())[:9])


def test_photographs_at_full_size(trained: EnsembleDetector, real_data: Path) -> None:
    content = onnx_bytes(onnx_model(trained.scorer_, trained.scorer_.inputs.size))  # type: ignore[union-attr]
    members = openvino_files(content)
    engines = [
        OnnxEngine(content, 1, "onnx"),
        OpenVinoEngine(members["graph.xml"], members["graph.bin"], "f32", 1, "ir"),
    ]
    for kind in ("good", "broken_large"):
        image = read_image(next(iter(sorted((real_data / "bottle" / "test" / kind).iterdir()))))
        (expected,) = trained.predict([image])
        for engine in engines:
            found = engine.run(image[None], ["score", "levels", "heat_map"])
            assert float(found["score"][0]) == pytest.approx(expected.score, abs=STD, rel=1e-5)
            assert found["levels"][0].tolist() == pytest.approx(
                list(expected.levels.values()), abs=STD, rel=1e-5
            )
            np.testing.assert_allclose(found["heat_map"][0], expected.heat_map, atol=STD, rtol=1e-4)


@pytest.mark.parametrize("preset", ["features-fast"])
def test_the_other_presets(preset: str, images: list[Path]) -> None:
    detector = EnsembleDetector(tiny_features(preset)).fit(flanges(9))
    assert build_bundle(detector, verify=images[:3]).parity.score_difference < STD


@pytest.mark.parametrize("level", ["patch", "image"])
def test_each_level_alone(level: str, images: list[Path], tmp_path: Path) -> None:
    config = tiny_features()
    config.levels = [level]
    detector = EnsembleDetector(config).fit(flanges(9))
    build_bundle(detector, verify=images[:3]).write(tmp_path / "part.patchebm")
    for found, expected in zip(
        load(tmp_path / "part.patchebm").predict(images), detector.predict(images), strict=True
    ):
        assert_same(found, expected)


def test_a_single_block(images: list[Path]) -> None:
    config = tiny_features()
    config.features.blocks, config.features.grid = [10], (4, 4)
    detector = EnsembleDetector(config).fit(flanges(9))
    assert build_bundle(detector, verify=images[:3]).parity.score_difference < STD


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_a_region_of_interest_and_tiles_are_in_the_graph(
    precision: Literal["f32", "int8"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "MAX_PIXELS", 1)
    monkeypatch.setattr(tiling, "TILE", 64)
    config = tiny_features()
    config.features.precision = precision
    config.features.size, config.features.grid = (64, 320), (8, 40)
    # In int8 a last bit that differs moves values across a step.
    loose = 10 if precision == "int8" else 1
    roi = np.zeros((20, 40), dtype=bool)
    roi[4:, 8:36] = True
    detector = EnsembleDetector(config).fit(flanges(9), roi=roi)
    engine = OnnxEngine(onnx_bytes(onnx_model(detector.scorer_, (64, 320))), 1, "a bundle")
    image = noise((64, 320, 3))
    other = image.copy()
    other[:10] = 0
    expected = detector.predict([image])[0]
    for own in (image, other):
        found = engine.run(own[None], ["score", "heat_map"])
        assert float(found["score"][0]) == pytest.approx(expected.score, rel=loose * 1e-5)
        assert expected.heat_map is not None
        np.testing.assert_allclose(
            found["heat_map"][0], expected.heat_map, atol=loose * 1e-3, rtol=loose * 1e-4
        )


def test_a_detector_on_another_device_exports_its_scorer_on_the_cpu(
    fitted: EnsembleDetector, images: list[Path]
) -> None:
    before = {name: tensor.clone() for name, tensor in fitted.scorer_.state_dict().items()}
    build_bundle(fitted, verify=images[:1])
    after = fitted.scorer_.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
