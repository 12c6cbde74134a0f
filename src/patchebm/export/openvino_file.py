"""The graph as OpenVINO IR, made from the ONNX file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from patchebm.runtime.openvino_engine import require_openvino


def openvino_files(onnx_content: bytes) -> dict[str, bytes]:
    """The bundle members `graph.xml` and `graph.bin`; the same ONNX gives the same bytes.

    Args:
        onnx_content: as `onnx_file.onnx_bytes` gives it.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    openvino = require_openvino()
    model = openvino.Core().read_model(model=onnx_content)
    _antialias(model)
    # Names that OpenVINO makes up count on from file to file.
    for number, op in enumerate(model.get_ordered_ops()):
        op.set_friendly_name(f"{op.get_type_name()}_{number}")
    model.set_friendly_name("patchebm")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.xml"
        openvino.save_model(model, file, compress_to_fp16=False)
        return {"graph.xml": file.read_bytes(), "graph.bin": file.with_suffix(".bin").read_bytes()}


def _antialias(model: object) -> None:
    """Give every resize the antialiasing that OpenVINO silently drops when it reads ONNX.

    `bilinear_pillow` is bilinear with antialiasing, pixels as areas and weights normalised within the border:
    what torch and the ONNX file compute.
    """
    from openvino import opset13

    for op in list(model.get_ordered_ops()):  # type: ignore[attr-defined]
        if op.get_type_name() != "Interpolate":
            continue
        data, size, axes = op.input_value(0), op.input_value(1), op.input_value(op.get_input_size() - 1)
        resized = opset13.interpolate(
            data, size, mode="bilinear_pillow", shape_calculation_mode="sizes", axes=axes, cube_coeff=-0.5
        )
        names = op.output(0).names
        for target in op.output(0).get_target_inputs():
            target.replace_source_output(resized.output(0))
        resized.output(0).set_names(names)
