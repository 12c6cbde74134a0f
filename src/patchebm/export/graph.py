"""A fitted detector's scorer as an ONNX graph: the same bytes for the same model, and nothing in them but it.

The scorer is traced in four pieces, whose ends have the names that runtimes cut the graph at
(`patchebm.runtime.engines`), and the pieces are put together. There is no arithmetic here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from patchebm.detector.scorer import Scorer
from patchebm.errors import ConfigError
from patchebm.features.backbone import Backbone
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.quantised_backbone import QuantisedBackbone
from patchebm.features.tracing import (
    DOMAIN,
    IR_VERSION,
    OPSET,
    constants_apart,
    plain_node,
    traced,
)
from patchebm.runtime.engine import IMAGE_SIZE, INPUT, LARGEST_MAP, PREPARED, THUMBNAILS

# Pixels along a side that no image has.
NO_LIMIT = 2**31 - 1
# Bytes from which it is worth a node to keep a tensor in half precision.
LARGE_TENSOR = 2**20


def onnx_model(scorer: Scorer, size: tuple[int, int]) -> onnx.ModelProto:
    """Build the graph of `docs/bundle-format.md`.

    Args:
        scorer: of a fitted detector on features, on the CPU.
        size: height and width to which images are resized.

    Raises:
        ConfigError: an energy is made of operations that ONNX does not have.
    """
    names = list(scorer.levels)
    grids, planes = [f"grid_{name}" for name in names], [f"plane_{name}" for name in names]
    maps = [f"map_{name}" for name in names]
    images = torch.zeros(2, 37, 41, 3)
    given = {PREPARED: torch.zeros(2, 3, *size)}
    with torch.no_grad():
        if (small := scorer.thumbnails(images)) is not None:
            given[THUMBNAILS] = small
        planes_now = [grid[:, None] for grid in scorer.score(*given.values()).grids]
    free = {0: "N", 1: "H", 2: "W"}
    pieces = [
        _traced(
            _Prepare(scorer),
            {INPUT: images},
            list(given),
            {INPUT: free | {3: "C"}} | {name: {0: "N"} for name in given},
        ),
        _traced(
            _Score(scorer),
            given,
            ["score", "levels", *grids, *planes],
            {name: {0: "N"} for name in (*given, "score", "levels", *grids, *planes)},
        ),
        _traced(
            _Size(),
            {INPUT: images, LARGEST_MAP: torch.tensor([NO_LIMIT])},
            [IMAGE_SIZE],
            {INPUT: free | {3: "C"}},
        ),
        _traced(
            _Maps(scorer),
            dict(zip(planes, planes_now, strict=True)) | {IMAGE_SIZE: torch.tensor([50, 60])},
            [*maps, "heat_map"],
            {name: {0: "N"} for name in planes} | dict.fromkeys([*maps, "heat_map"], free),
        ),
    ]
    outputs = ["score", "levels", *grids, *maps, "heat_map"]
    assert isinstance(scorer.inputs, FeatureExtractor)
    return _joined(pieces, outputs, scorer.inputs.backbone)


def onnx_bytes(model: onnx.ModelProto) -> bytes:
    """Return the model as a file."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class _Piece(nn.Module):
    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer


class _Prepare(_Piece):
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        thumbnails = self.scorer.thumbnails(images)
        prepared = self.scorer.prepare(images)
        return (prepared,) if thumbnails is None else (prepared, thumbnails)


class _Score(_Piece):
    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        scores = self.scorer.score(*given)
        # A level's map starts from a plane of its own, so that the graph can be cut between the two.
        return (scores.score, scores.levels, *scores.grids, *(grid[:, None] for grid in scores.grids))


class _Size(nn.Module):
    def forward(self, images: Tensor, largest: Tensor) -> Tensor:
        return torch.minimum(torch._shape_as_tensor(images)[1:3], largest)


class _Maps(_Piece):
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *planes, size = inputs
        maps, anomaly_map = self.scorer.maps([plane[:, 0] for plane in planes], size)
        return (*maps, anomaly_map)


def _traced(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axes: Mapping[str, Any]
) -> onnx.ModelProto:
    try:
        return traced(module, inputs, outputs, axes)
    except RuntimeError as error:
        # An energy of whole maps whose map comes from autograd, or an operator that ONNX does not have.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"this model cannot be exported: ONNX cannot hold one of its energies ({reason:.120}); "
            "add a network to the level whose base it is, or use another base"
        ) from error


def _joined(pieces: Sequence[onnx.ModelProto], outputs: Sequence[str], backbone: Backbone) -> onnx.ModelProto:
    """Put pieces together, whose inputs and outputs of one name are one tensor.

    Args:
        pieces: as they were traced.
        outputs: of the whole.
        backbone: the graph of a quantised one stands where the pieces have an operator for it.
    """
    nodes: list[onnx.NodeProto] = []
    initial: list[TensorProto] = []
    ends: dict[str, onnx.ValueInfoProto] = {}
    for number, piece in enumerate(pieces):
        # Names inside a piece may be those inside another; the ends keep theirs.
        graph = compose.add_prefix_graph(
            piece.graph, f"piece{number}/", rename_inputs=False, rename_outputs=False
        )
        own, tensors = constants_apart(graph)
        nodes += own
        initial += tensors
        ends |= {end.name: end for end in (*graph.input, *graph.output)}
    if isinstance(backbone, QuantisedBackbone):
        network = onnx.load_model_from_string(backbone.graph).graph
        nodes = [part for node in nodes for part in _in_place(node, network)]
        initial += network.initializer
    initial, widened = _kept_small(initial)
    # What is both an input and an initialiser may be left out.
    initial.append(numpy_helper.from_array(torch.tensor([NO_LIMIT]).numpy(), LARGEST_MAP))
    made = helper.make_graph(
        [plain_node(node, f"{node.op_type}_{number}") for number, node in enumerate([*widened, *nodes])],
        "patchebm",
        [ends[INPUT], ends[LARGEST_MAP]],
        [ends[name] for name in outputs],
        initial,
    )
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="patchebm")
    whole.ir_version = IR_VERSION
    onnx.checker.check_model(whole)
    return whole


def _kept_small(initial: Sequence[TensorProto]) -> tuple[list[TensorProto], list[onnx.NodeProto]]:
    """Keep large tensors whose values all fit into half precision in it, and widen them by a node.

    A runtime computes the node once, when it opens the model.
    """
    kept: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for tensor in initial:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.nbytes >= LARGE_TENSOR:
            half = values.astype(np.float16)
            if (half.astype(np.float32) == values).all():
                kept.append(numpy_helper.from_array(half, f"{tensor.name}/half"))
                nodes.append(
                    helper.make_node("Cast", [f"{tensor.name}/half"], [tensor.name], to=TensorProto.FLOAT)
                )
                continue
        kept.append(tensor)
    return kept, nodes


def _in_place(node: onnx.NodeProto, network: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes of a network where a node stands for it, or else the node itself."""
    if node.domain != DOMAIN:
        return [node]
    ends = {
        theirs.name: name
        for theirs, name in zip((*network.input, *network.output), (*node.input, *node.output), strict=True)
        if name
    }
    shared = {tensor.name for tensor in network.initializer}

    def renamed(name: str) -> str:
        # A large image goes through the network in tiles, each with tensors of its own.
        return name if name in shared or not name else ends.get(name, f"{node.output[0]}/{name}")

    parts = []
    for part in network.node:
        copy = plain_node(part, part.name)
        copy.input[:] = map(renamed, part.input)
        copy.output[:] = map(renamed, part.output)
        parts.append(copy)
    return parts
