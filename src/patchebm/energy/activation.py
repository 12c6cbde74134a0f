"""The activation functions of networks."""

from __future__ import annotations

from typing import Literal

from torch import nn

Activation = Literal["leaky_relu", "silu"]


def build_activation(kind: Activation) -> nn.Module:
    """`leaky_relu`, of the slope 0.2 of JEM's and JEM++'s networks, or `silu`."""
    return nn.LeakyReLU(0.2) if kind == "leaky_relu" else nn.SiLU()
