"""The graph says what the detector says: algebra, resizes, sizes and kinds of images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from patchebm.config.parser import load_preset
from patchebm.export.onnx_file import onnx_bytes, onnx_model

from patchebm.detector import EnsembleDetector
from patchebm.errors import ConfigError, PatchebmError
from patchebm.export.graph import ScoringGraph
from patchebm.export.openvino_file import openvino_files
from patchebm.features import tiling
from patchebm.images.reading import read_image
from patchebm.runtime.engine import INPUT, LARGEST_MAP
from patchebm.runtime.onnx_engine import OnnxEngine
from patchebm.runtime.openvino_engine import OpenVinoEngine
from tests.tiny import flanges, tiny_features

SIZES = [(64, 64, 3), (90, 131, 3), (40, 200, 1), (301, 33, 3), (20, 20, 1), (9, 64, 3)]


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize("which", ["ensemble", "patch", "image"])
def test_the_module_is_the_detector(levels: dict[str, EnsembleDetector], which: str) -> None:
    detector = levels[which]
    graph = ScoringGraph(detector)
    for shape in SIZES:
        image = noise(shape)
        expected = detector.predict([image])[0]
        with torch.inference_mode():
            found = graph(torch.from_numpy(image)[None])
        # Noise scores in the hundreds: float32 has seven digits.
        assert float(found.score) == pytest.approx(expected.score, abs=1e-4, rel=3e-6)
        assert found.levels[0].tolist() == pytest.approx(list(expected.levels.values()), abs=1e-4, rel=3e-6)
        assert expected.heat_map is not None
        np.testing.assert_allclose(found.heat_map[0], expected.heat_map, atol=1e-4, rtol=1e-5)


def test_a_single_block_is_its_own_last_one() -> None:
    config = tiny_features()
    config.features.blocks, config.features.grid = [10], (4, 4)
    detector = EnsembleDetector(config).fit(flanges(9))
    image = noise((64, 64, 3))
    with torch.inference_mode():
        score = float(ScoringGraph(detector)(torch.from_numpy(image)[None]).score)
    assert score == pytest.approx(detector.score([image])[0], abs=1e-4, rel=3e-6)


@pytest.mark.parametrize("preset", ["features-max", "features-fast", "features"])
def test_real_images(preset: str, fitted: EnsembleDetector, real_data: Path) -> None:
    detector = fitted if preset == "features" else EnsembleDetector(tiny_features(preset)).fit(flanges(9))
    graph = ScoringGraph(detector)
    for path in sorted((real_data / "magnetic_tile" / "test" / "good").iterdir())[:3]:
        image = read_image(path)
        expected = detector.predict([image])[0]
        with torch.inference_mode():
            score = float(graph(torch.from_numpy(image)[None]).score)
        assert score == pytest.approx(expected.score, abs=1e-4, rel=3e-6)


def test_both_runtimes_resize_as_torch_does(fitted: EnsembleDetector) -> None:
    """ONNX Runtime gives weights beyond the border to it unless told not to; OpenVINO drops antialiasing."""
    content = onnx_bytes(onnx_model(ScoringGraph(fitted)))
    members = openvino_files(content)
    engines = [
        OnnxEngine(content, 1, "onnx"),
        OpenVinoEngine(members["graph.xml"], members["graph.bin"], "f32", 1, "ir"),
    ]
    wanted = ["score", "levels", "map_patch", "map_image", "heat_map"]
    for shape in SIZES:
        image = noise(shape)
        expected = fitted.predict([image])[0]
        for engine in engines:
            found = engine.run(image[None], wanted)
            assert found["score"][0] == pytest.approx(expected.score, abs=2e-3, rel=1e-5), (engine, shape)
            np.testing.assert_allclose(found["heat_map"][0], expected.heat_map, atol=2e-3, rtol=1e-4)
            for name, level_map in expected.level_maps.items():
                np.testing.assert_allclose(found[f"map_{name}"][0], level_map, atol=2e-3, rtol=1e-4)


def test_the_resize_itself_to_a_hundred_thousandth(fitted: EnsembleDetector) -> None:
    graph = ScoringGraph(fitted)
    model = onnx_model(graph)
    model.graph.output.append(helper.make_tensor_value_info("prepared", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in SIZES:
        image = noise((1, *shape))
        expected = graph.prepare(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(session.run(["prepared"], {"images": image})[0], expected, atol=2e-5)


def test_openvino_computes_in_f32_whatever_it_would_choose(fitted: EnsembleDetector) -> None:
    members = openvino_files(onnx_bytes(onnx_model(ScoringGraph(fitted))))
    engine = OpenVinoEngine(members["graph.xml"], members["graph.bin"], "f32", 1, "ir")
    assert {str(part.get_property("INFERENCE_PRECISION_HINT")) for part in engine.compiled} == {
        "<Type: 'float32'>"
    }


def test_one_model_gives_one_file_and_no_path_of_who_exported_it(fitted: EnsembleDetector) -> None:
    first, second = (onnx_bytes(onnx_model(ScoringGraph(fitted))) for _ in range(2))
    assert first == second
    assert openvino_files(first) == openvino_files(second)
    for content in (first, *openvino_files(first).values()):
        assert b"site-packages" not in content
        assert str(Path(__file__).parents[2]).encode() not in content


def test_what_cannot_be_exported_is_refused() -> None:
    with pytest.raises(PatchebmError, match="not fitted"):
        ScoringGraph(EnsembleDetector(load_preset("features")))
    pixels = EnsembleDetector(load_preset("pixel-cpu"))
    pixels.threshold_ = None  # type: ignore[assignment]
    with pytest.raises(
        ConfigError, match="looks at pixels cannot be exported; train with the preset features"
    ):
        ScoringGraph(pixels)


def test_a_gradient_score_is_refused(fitted: EnsembleDetector) -> None:
    level = fitted.levels_["patch"]
    before = level.config.score.kind
    level.config.score.kind = "gradient"
    try:
        with pytest.raises(ConfigError, match=r"patch\.score\.kind gradient cannot be exported"):
            ScoringGraph(fitted)
    finally:
        level.config.score.kind = before


def test_a_region_of_interest_and_tiles_are_in_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "MAX_PIXELS", 1)
    monkeypatch.setattr(tiling, "TILE", 64)
    config = tiny_features()
    config.features.size, config.features.grid = (64, 320), (8, 40)
    roi = np.zeros((20, 40), dtype=bool)
    roi[4:, 8:36] = True
    detector = EnsembleDetector(config).fit(flanges(9), roi=roi)
    engine = OnnxEngine(onnx_bytes(onnx_model(ScoringGraph(detector))), 1, "a bundle")
    image = noise((64, 320, 3))
    other = image.copy()
    other[:10] = 0
    expected = detector.predict([image])[0]
    for seen in (image, other):
        found = engine.run(seen[None], ["score", "heat_map"])
        assert float(found["score"][0]) == pytest.approx(expected.score, rel=1e-5)
        assert expected.heat_map is not None
        np.testing.assert_allclose(found["heat_map"][0], expected.heat_map, atol=1e-3, rtol=1e-4)


def test_the_graph_asks_no_map_for_its_size(fitted: EnsembleDetector) -> None:
    """Sizes that are known are constants: a tracer puts a dozen operators where a module asks for one."""
    asked = [node.input[0] for node in onnx_model(ScoringGraph(fitted)).graph.node if node.op_type == "Shape"]
    # Images may have any size, and it is that of their maps.
    assert asked == [INPUT]


def test_maps_that_nobody_asked_for_are_not_made(
    fitted: EnsembleDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime computes what is not fetched, too: the engine says that maps may be of one pixel."""
    content = onnx_bytes(onnx_model(ScoringGraph(fitted)))
    engine = OnnxEngine(content, 1, "onnx")
    image = noise((1, 900, 1300, 3))
    session = engine._session
    assert [one.name for one in session.get_inputs()] == [INPUT]
    whole, small = (
        session.run(["score", "heat_map"], {INPUT: image} | limit)
        for limit in ({}, {LARGEST_MAP: np.ones(1, dtype=np.int64)})
    )
    assert whole[1].shape == (1, 900, 1300)
    assert small[1].shape == (1, 1, 1)
    assert small[0] == whole[0] == engine.run(image, ["score"])["score"]
    limited = []

    def heard(names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        limited.append(LARGEST_MAP in inputs)
        return session.run(names, inputs)  # type: ignore[no-any-return]

    monkeypatch.setattr(engine, "_session", SimpleNamespace(run=heard))
    engine.run(image, ["score", "levels"])
    assert engine.run(image, ["score", "heat_map"])["heat_map"].shape == (1, 900, 1300)
    assert limited == [True, False]
