"""The backbone in 8-bit integers, its ranges found on good pictures; the levels stay in float32.

Features are rounded to 256 steps of the range that good pictures show, and everything that judges them, whose
differences are small beside its sums, is computed as before.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from patchebm.data.images import read_image
from patchebm.deploy.engines import INPUT


def quantised(model: onnx.ModelProto, pictures: Sequence[Path]) -> onnx.ModelProto:
    """The graph with int8 convolutions in its backbone (static, per output channel, QDQ).

    Args:
        model: as `onnx_file.onnx_model` gives it.
        pictures: good ones.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(pictures)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            path = next(self._left, None)
            return None if path is None else {INPUT: read_image(path)[None]}

    backbone = [
        n.name for n in model.graph.node if n.op_type == "Conv" and n.output[0].startswith("/features/")
    ]
    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "graph.onnx"
        try:
            # It warns on the root logger of what it would have one do before, which changes nothing here.
            logger.setLevel(logging.ERROR)
            quantize_static(
                model,
                target,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                # Products of full 8-bit weights overflow the 16-bit sums of CPUs without VNNI.
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_quantize=backbone,
            )
        finally:
            logger.setLevel(level)
        return onnx.load(target)
