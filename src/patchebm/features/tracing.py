"""Modules as ONNX graphs, in the one version that everything exported has."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

# Resize has `antialias` and `axes` from here on.
OPSET = 18
IR_VERSION = 8
# Of the operators that are not ONNX's own, and stand in a graph only until it is put together.
DOMAIN = "patchebm"


def traced(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axes: Mapping[str, Any]
) -> onnx.ModelProto:
    """Trace a module.

    Args:
        module: is put into evaluation mode.
        inputs: an example of each input, by its name.
        outputs: names.
        axes: names of the axes of any length, by number, of each input and output that has some.

    Raises:
        RuntimeError: the module does what ONNX cannot hold.
    """
    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        # The tracer is chosen for its two seconds (the exporter by torch.export takes a minute for the same
        # graph, and needs onnxscript); what it warns of are its deprecation and shapes that are constant.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=dict(axes),
        )
    return onnx.load_model_from_string(file.getvalue())


def plain_node(node: onnx.NodeProto, name: str) -> onnx.NodeProto:
    """Return a copy of a node under a name, without what says where in whose source it came from."""
    kept = onnx.NodeProto()
    kept.CopyFrom(node)
    kept.name = name
    kept.ClearField("doc_string")
    kept.ClearField("metadata_props")
    return kept


def named_tensor(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    """Return a copy of a tensor under a name."""
    kept = onnx.TensorProto()
    kept.CopyFrom(tensor)
    kept.name = name
    return kept


def constants_apart(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the nodes and the tensors of a graph: what the tracer wrote as nodes are tensors like others."""
    nodes: list[onnx.NodeProto] = []
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            tensors.append(named_tensor(node.attribute[0].t, node.output[0]))
        else:
            nodes.append(node)
    return nodes, tensors
