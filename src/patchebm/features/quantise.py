"""The wide layers of a backbone in 8-bit integers, their ranges found on good images; the rest in float32.

Of EfficientNet-Lite0 these are the blocks from 4 on. With the narrow layers before them, whose channels
differ much in range, features of good images are several times as far from those in float32, at no less
time. With the wide 1x1 convolutions alone they are as near, and take longer, since values go back and forth
between integers and floating point.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import compose
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from torch import Tensor, nn

from patchebm.errors import ConfigError
from patchebm.features.backbone import Backbone
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.quantised_backbone import QuantisedBackbone, map_name
from patchebm.features.tiling import TILE
from patchebm.features.tracing import OPSET, constants_apart, plain_node, traced
from patchebm.line.machine import hardware
from patchebm.runtime.engine import INPUT, PREPARED
from patchebm.runtime.onnx_engine import OnnxEngine

# Channels on the wider side of a convolution that is wide.
WIDE = 200
# Before each name in the graph, so that none is that of something else in an exported model.
PREFIX = "backbone/"
# Severities of ONNX Runtime's log; the latter is its default.
ERRORS, WARNINGS = 3, 2


def quantised(extractor: FeatureExtractor, images: Iterable[NDArray[np.float32]]) -> FeatureExtractor:
    """Return an extractor whose backbone is in int8 (static, per output channel, QDQ).

    Args:
        extractor: in float32, on the CPU.
        images: good ones, `(H, W, 1 or 3)` in [0, 1], on which the ranges of values are found; at least one.

    Raises:
        ConfigError: there is nothing in its backbone that int8 suits, or ONNX cannot hold it.
    """
    preparing = OnnxEngine(prepare_graph(extractor), torch.get_num_threads(), "what prepares images")
    made = FeatureExtractor(extractor.backbone, extractor.config, extractor.framing)
    made.region, made.preparing = extractor.region, preparing
    prepared = (made.inside(made.prepare(torch.from_numpy(image)[None])) for image in images)
    # Of large images tile by tile, so that memory is bounded.
    tiles = (
        tile for one in prepared for rows in torch.split(one, TILE, 2) for tile in torch.split(rows, TILE, 3)
    )
    made.backbone = quantised_backbone(extractor.backbone, tiles)
    return made


def quantised_backbone(backbone: Backbone, images: Iterable[Tensor]) -> QuantisedBackbone:
    """Quantise a backbone.

    Args:
        backbone: in float32, on the CPU.
        images: good ones, each `(1, 3, H, W)` in [-1, 1], as the backbone is given them; at least one.

    Raises:
        ConfigError: there is nothing in it that int8 suits, or ONNX cannot hold it.
    """
    model = backbone_graph(backbone)
    wide = _wide_nodes(model.graph)
    if not wide:
        raise ConfigError(
            f"{backbone.name} has no wide convolutions for int8; use --precision f32, or another backbone"
        )
    graph = _in_integers(model, wide, images).SerializeToString(deterministic=True)
    return QuantisedBackbone(
        graph,
        backbone.name,
        backbone.blocks,
        backbone.sha256,
        backbone.multiple,
        backbone.reach,
        hardware()["flags"],
    )


def prepare_graph(extractor: FeatureExtractor) -> bytes:
    """Return what prepares images as an ONNX file, from `images` to `prepared`."""
    axes = {INPUT: {0: "N", 1: "H", 2: "W", 3: "C"}, PREPARED: {0: "N"}}
    model = traced(_Prepare(extractor), {INPUT: torch.zeros(2, 37, 41, 3)}, [PREPARED], axes)
    model.graph.CopyFrom(_plain(model.graph))
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def backbone_graph(backbone: Backbone) -> onnx.ModelProto:
    """Return a backbone in float32 as a graph from `images` to `map_0`, `map_1` and so on.

    Raises:
        ConfigError: ONNX cannot hold it.
    """
    names = [map_name(number) for number in range(len(backbone.blocks))]
    side = backbone.multiple * -(-64 // backbone.multiple)
    axes = {name: {0: "N", 2: f"height of {name}", 3: f"width of {name}"} for name in (INPUT, *names)}
    try:
        model = traced(_Maps(backbone), {INPUT: torch.zeros(2, 3, side, side)}, names, axes)
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{backbone.name} cannot be quantised: ONNX cannot hold it ({reason:.120}); use --precision f32"
        ) from error
    model.graph.CopyFrom(_plain(model.graph))
    return model


class _Prepare(nn.Module):
    """What prepares images, alone."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        return self.extractor.prepare(images)


class _Maps(nn.Module):
    """The backbone without its checks, which make no part of a graph."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone.maps(x))


def _plain(graph: onnx.GraphProto) -> onnx.GraphProto:
    """Return a graph with nothing in it that tells where it was made."""
    nodes, tensors = constants_apart(graph)
    nodes = [plain_node(node, f"{node.op_type}_{number}") for number, node in enumerate(nodes)]
    made = onnx.helper.make_graph(nodes, "backbone", list(graph.input), list(graph.output), tensors)
    return compose.add_prefix_graph(made, PREFIX, rename_inputs=False, rename_outputs=False)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands images to the quantiser one by one."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next image, or None."""
        image = next(self._left, None)
        return None if image is None else {INPUT: np.ascontiguousarray(image.numpy())}


def _wide_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the wide convolutions, and of what clips their outputs."""
    shapes = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    wide = [n for n in graph.node if n.op_type == "Conv" and max(shapes[n.input[1]][:2]) >= WIDE]
    outputs = {node.output[0] for node in wide}
    # With its clip a convolution is rounded to steps of [0, 6], and not of all that is clipped off.
    clips = [n for n in graph.node if n.op_type in ("Clip", "Relu") and n.input[0] in outputs]
    return [node.name for node in (*wide, *clips)]


def _in_integers(model: onnx.ModelProto, wide: list[str], images: Iterable[Tensor]) -> onnx.ModelProto:
    """Return the model with int8 in the named nodes."""
    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "graph.onnx"
        try:
            # It warns on the root logger of what it would have one do before, which changes nothing here.
            logger.setLevel(logging.ERROR)
            onnxruntime.set_default_logger_severity(ERRORS)
            quantize_static(
                model,
                target,
                _Reader(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                # Products of full 8-bit weights overflow the 16-bit sums of processors without VNNI; with
                # these every processor computes the same integers.
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_quantize=wide,
            )
        finally:
            logger.setLevel(level)
            onnxruntime.set_default_logger_severity(WARNINGS)
        made: Any = onnx.load(target)
    opsets = {one.domain: one.version for one in made.opset_import}
    assert opsets.get("") == OPSET, f"the quantiser gave another opset: {opsets}"
    plain, tensors = constants_apart(made.graph)
    made.graph.ClearField("node")
    made.graph.ClearField("initializer")
    made.graph.node.extend(plain_node(node, f"{node.op_type}_{number}") for number, node in enumerate(plain))
    made.graph.initializer.extend(tensors)
    return made  # type: ignore[no-any-return]
