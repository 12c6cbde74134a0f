"""Resizing, the one operation of a scorer whose sizes change from image to image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate


class _Resize(torch.autograd.Function):
    """Torch's antialiased bilinear resize, which is one operator in ONNX, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: Tensor) -> Tensor:
        del ctx
        return _interpolate(x, (int(size[0]), int(size[1])))

    @staticmethod
    def symbolic(g: Any, x: Any, size: Any) -> Any:
        return g.op(
            "Resize",
            x,
            g.op("Constant", value_t=torch.tensor([])),
            g.op("Constant", value_t=torch.tensor([])),
            size,
            mode_s="linear",
            antialias_i=1,
            # Weights that fall beyond the border count for nothing, as in torch; by default ONNX Runtime
            # gives them to the pixels at the border, which moved these by up to .06.
            exclude_outside_i=1,
            coordinate_transformation_mode_s="half_pixel",
            axes_i=[2, 3],
        )


def resize(x: Tensor, size: tuple[int, int] | Tensor) -> Tensor:
    """Resize `(B, C, H, W)` to `(B, C, *size)`, bilinear with antialiasing, so that no detail aliases.

    Args:
        x: the maps.
        size: height and width; `(2,)` int64 where an exported graph computes it while it runs.
    """
    if isinstance(size, Tensor):
        resized: Tensor = _Resize.apply(x, size)  # type: ignore[no-untyped-call]
        return resized
    # The tracer has no operator of its own for it; the exporter by torch.export, which anomalib uses, has.
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return resize(x, torch.tensor(size))
    return _interpolate(x, size)


def _interpolate(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
