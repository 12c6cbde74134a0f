"""A `ScoringGraph` as ONNX: the same bytes for the same model, and nothing in them but the model."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from patchebm.export.graph import ScoringGraph
from patchebm.runtime.engine import IMAGE_SIZE, INPUT, LARGEST_MAP, PREPARED

# Resize has `antialias` and `axes` from here on.
OPSET = 18
IR_VERSION = 8
_AXES = ("N", "H", "W", "C")
# Pixels along a side that no image has.
NO_LIMIT = 2**31 - 1


def onnx_model(graph: ScoringGraph) -> onnx.ModelProto:
    """The graph of `docs/bundle-format.md`.

    The network and the levels are traced by torch; the resizes around them, whose sizes change from image
    to image, are put there by hand, so that they are one operator each.

    Args:
        graph: of a fitted detector.
    """
    model = _traced(graph)
    core = model.graph
    initial = list(core.initializer)
    nodes = [*_front(graph.size, initial), *core.node, *_tail(graph.level_names, initial)]
    cells = [(out.name, [d.dim_value or "N" for d in out.type.tensor_type.shape.dim]) for out in core.output]
    outputs = [*cells, *((f"map_{name}", _AXES[:3]) for name in graph.level_names), ("heat_map", _AXES[:3])]
    made = helper.make_graph(
        [_plain(node, number) for number, node in enumerate(nodes)],
        "patchebm",
        [
            helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, _AXES),
            helper.make_tensor_value_info(LARGEST_MAP, TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        initial,
    )
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="patchebm")
    whole.ir_version = IR_VERSION
    onnx.checker.check_model(whole)
    return whole


def onnx_bytes(model: onnx.ModelProto) -> bytes:
    """The model as a file."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class _Core(nn.Module):
    """What is traced: prepared images to scores and grids."""

    def __init__(self, graph: ScoringGraph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, prepared: Tensor) -> tuple[Tensor, ...]:
        score, levels, grids = self.graph.judge(prepared)
        return (score, levels, *grids)


def _traced(graph: ScoringGraph) -> onnx.ModelProto:
    names = ["score", "levels", *(f"grid_{name}" for name in graph.level_names)]
    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        # The tracer is chosen for its two seconds (the exporter by torch.export takes a minute for the same
        # graph, and needs onnxscript); what it warns of are its deprecation and shapes that are constant.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Core(graph).eval(),
            (torch.zeros(2, 3, *graph.size),),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=[PREPARED],
            output_names=names,
            dynamic_axes={name: {0: "N"} for name in (PREPARED, *names)},
        )
    return onnx.load_model_from_string(file.getvalue())


def _front(size: tuple[int, int], initial: list[TensorProto]) -> list[onnx.NodeProto]:
    """From images to `PREPARED`."""
    initial += [
        _constant("prepared_size", np.array(size, dtype=np.int64)),
        _constant("two", np.full((3, 1, 1), 2, dtype=np.float32)),
        _constant("one", np.array(1, dtype=np.float32)),
    ]
    return [
        helper.make_node("Transpose", [INPUT], ["planes"], perm=[0, 3, 1, 2]),
        _resize("planes", "prepared_size", "resized"),
        # Grey becomes three equal channels, three stay as they are.
        helper.make_node("Mul", ["resized", "two"], ["doubled"]),
        helper.make_node("Sub", ["doubled", "one"], [PREPARED]),
    ]


def _tail(names: tuple[str, ...], initial: list[TensorProto]) -> list[onnx.NodeProto]:
    """From grids to maps of the images' own size."""
    initial += [
        _constant("image_axes", np.array([1, 2], dtype=np.int64)),
        _constant("channel_axis", np.array([1], dtype=np.int64)),
        _constant("levels_inverse", np.array(1 / len(names), dtype=np.float32)),
        # What is both an input and an initialiser may be left out.
        _constant(LARGEST_MAP, np.array([NO_LIMIT], dtype=np.int64)),
    ]
    nodes = [
        helper.make_node("Shape", [INPUT], ["images_shape"]),
        helper.make_node("Gather", ["images_shape", "image_axes"], ["whole_size"]),
        helper.make_node("Min", ["whole_size", LARGEST_MAP], [IMAGE_SIZE]),
    ]
    for name in names:
        nodes += [
            helper.make_node("Unsqueeze", [f"grid_{name}", "channel_axis"], [f"plane_{name}"]),
            _resize(f"plane_{name}", IMAGE_SIZE, f"grown_{name}"),
            helper.make_node("Squeeze", [f"grown_{name}", "channel_axis"], [f"map_{name}"]),
        ]
    total = f"map_{names[0]}"
    for name in names[1:]:
        nodes.append(helper.make_node("Add", [total, f"map_{name}"], [f"sum_{name}"]))
        total = f"sum_{name}"
    return [*nodes, helper.make_node("Mul", [total, "levels_inverse"], ["heat_map"])]


def _resize(source: str, size: str, target: str) -> onnx.NodeProto:
    """Bilinear, antialiased where it shrinks, pixels as areas: torch's `interpolate(antialias=True)`."""
    return helper.make_node(
        "Resize",
        [source, "", "", size],
        [target],
        mode="linear",
        antialias=1,
        # Weights that fall beyond the border count for nothing, as in torch; by default ONNX Runtime gives
        # them to the pixels at the border, which moved these by up to .06.
        exclude_outside=1,
        coordinate_transformation_mode="half_pixel",
        axes=[2, 3],
    )


def _constant(name: str, value: np.ndarray[Any, Any]) -> TensorProto:
    return numpy_helper.from_array(value, name)


def _plain(node: onnx.NodeProto, number: int) -> onnx.NodeProto:
    """The node without what says where in whose source it came from."""
    kept = onnx.NodeProto()
    kept.CopyFrom(node)
    kept.name = f"{node.op_type}_{number}"
    kept.ClearField("doc_string")
    kept.ClearField("metadata_props")
    return kept
