"""The graph: its tensors, its operators, its bytes, and what it leaves out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from patchebm.detector import EnsembleDetector
from patchebm.detector.scorer import Scorer
from patchebm.export.graph import OPSET, onnx_bytes, onnx_model
from patchebm.export.openvino_file import openvino_files
from patchebm.runtime.engine import IMAGE_SIZE, INPUT, LARGEST_MAP, PREPARED
from patchebm.runtime.onnx_engine import OnnxEngine
from patchebm.runtime.openvino_engine import OpenVinoEngine

SHAPES = [(64, 64, 3), (90, 131, 3), (40, 200, 1), (301, 33, 3), (20, 20, 1), (9, 64, 3)]


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def scorer(fitted: EnsembleDetector) -> Scorer:
    return copy.deepcopy(fitted.scorer_).cpu()


@pytest.fixture(scope="module")
def model(scorer: Scorer) -> onnx.ModelProto:
    """Tests that change it copy it first."""
    return onnx_model(scorer, (64, 64))


@pytest.fixture(scope="module")
def session(model: onnx.ModelProto) -> Callable[[list[str], np.ndarray], list[np.ndarray]]:
    """Runs the graph for any of its tensors."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    inside = [PREPARED, "plane_position", "plane_image"]
    opened.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in inside)
    opened.graph.output.append(helper.make_tensor_value_info(IMAGE_SIZE, TensorProto.INT64, None))
    runtime = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda names, images: runtime.run(names, {INPUT: images})  # type: ignore[no-any-return]


def test_inputs_and_outputs_are_those_of_the_format(model: onnx.ModelProto) -> None:
    graph = model.graph
    assert [one.name for one in graph.input] == [INPUT, LARGEST_MAP]
    assert [one.name for one in graph.output] == [
        "score", "levels", "grid_position", "grid_image", "map_position", "map_image", "heat_map",
    ]  # fmt: skip
    axes = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["N", "H", "W", "C"]
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    assert all(node.domain == "" for node in graph.node)
    onnx.checker.check_model(model, full_check=True)


def test_it_can_be_cut_at_named_tensors(
    model: onnx.ModelProto, scorer: Scorer, session: Callable[[list[str], np.ndarray], list[np.ndarray]]
) -> None:
    images = noise((2, 90, 50, 3))
    prepared, size, patch, image = session([PREPARED, IMAGE_SIZE, "plane_position", "plane_image"], images)
    with torch.no_grad():
        expected = scorer.prepare(torch.from_numpy(images))
        grids = scorer.score(expected).grids
    np.testing.assert_allclose(prepared, expected, atol=2e-5)
    assert size.tolist() == [90, 50]
    for plane, grid in zip((patch, image), grids, strict=True):
        np.testing.assert_allclose(plane[:, 0], grid, atol=1e-3, rtol=1e-4)
    # Between a cut and what lies before it there is no other way.
    nodes = {output: node for node in model.graph.node for output in node.output}
    cuts = {PREPARED, IMAGE_SIZE, "plane_position", "plane_image"}
    reached: set[str] = set()
    waiting = ["map_position", "map_image", "heat_map"]
    while waiting:
        name = waiting.pop()
        if name in reached or name in cuts or name not in nodes:
            continue
        reached.add(name)
        waiting += nodes[name].input
    assert INPUT not in reached
    assert not any("backbone" in name for name in reached)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_resize_itself_to_a_hundred_thousandth(
    shape: tuple[int, ...],
    scorer: Scorer,
    session: Callable[[list[str], np.ndarray], list[np.ndarray]],
) -> None:
    """ONNX Runtime gives weights beyond the border to it unless told not to."""
    images = noise((1, *shape))
    np.testing.assert_allclose(
        session([PREPARED], images)[0], scorer.prepare(torch.from_numpy(images)), atol=2e-5
    )


def test_one_model_gives_one_file(scorer: Scorer, model: onnx.ModelProto) -> None:
    first, second = onnx_bytes(model), onnx_bytes(onnx_model(copy.deepcopy(scorer), (64, 64)))
    assert first == second
    assert openvino_files(first) == openvino_files(second)


def test_nothing_in_it_says_where_the_source_is(model: onnx.ModelProto) -> None:
    # Without the weights, in which any three bytes stand by chance.
    bare = copy.deepcopy(model)
    for weights in bare.graph.initializer:
        weights.ClearField("raw_data")
    for one in (onnx_bytes(bare), openvino_files(onnx_bytes(model))["graph.xml"]):
        for words in (b"site-packages", b".py", b"/src/", str(Path(__file__).parents[2]).encode()):
            assert words not in one
    for node in model.graph.node:
        kind, number = node.name.rsplit("_", 1)
        assert kind == node.op_type
        assert number.isdecimal()
        assert not node.doc_string
        assert not node.metadata_props
    assert model.producer_name == "patchebm"
    assert not model.producer_version
    assert not model.metadata_props


def test_it_asks_no_map_for_its_size(model: onnx.ModelProto) -> None:
    """Sizes that are known are constants: a tracer puts a dozen operators where a module asks for one."""
    asked = [node.input[0] for node in model.graph.node if node.op_type == "Shape"]
    # Images may have any size, and it is that of their maps.
    assert asked == [INPUT]


def test_maps_that_nobody_asked_for_are_not_made(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime computes what is not fetched, too: the engine says that maps may be of one pixel."""
    content = onnx_bytes(model)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    image = noise((1, 900, 1300, 3))
    assert [one.name for one in session.get_inputs()] == [INPUT]
    assert [one.name for one in session.get_overridable_initializers()] == [LARGEST_MAP]
    whole, small = (
        session.run(["score", "heat_map"], {INPUT: image} | limit)
        for limit in ({}, {LARGEST_MAP: np.ones(1, dtype=np.int64)})
    )
    assert whole[1].shape == (1, 900, 1300)
    assert small[1].shape == (1, 1, 1)
    assert session.run(["heat_map"], {INPUT: image, LARGEST_MAP: np.array([1000])})[0].shape == (1, 900, 1000)
    assert small[0] == whole[0]
    # The engine does so.
    limited = []

    class Heard:
        """A session of ONNX Runtime that notes whether maps were limited."""

        def __init__(self, *given: object, **named: object) -> None:
            self.session = original(*given, **named)

        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            limited.append(LARGEST_MAP in inputs)
            return self.session.run(names, inputs)  # type: ignore[no-any-return]

        def __getattr__(self, name: str) -> object:
            return getattr(self.session, name)

    original = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", Heard)
    engine = OnnxEngine(content, 1, "onnx")
    assert engine.run(image, ["score", "levels"])["score"] == whole[0]
    assert engine.run(image, ["score", "heat_map"])["heat_map"].shape == (1, 900, 1300)
    assert limited == [True, False]


def test_openvino_computes_in_f32_whatever_it_would_choose(model: onnx.ModelProto) -> None:
    members = openvino_files(onnx_bytes(model))
    engine = OpenVinoEngine(members["graph.xml"], members["graph.bin"], "f32", 1, "ir")
    assert {str(part.get_property("INFERENCE_PRECISION_HINT")) for part in engine.compiled} == {
        "<Type: 'float32'>"
    }
