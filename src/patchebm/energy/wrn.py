"""The wide residual network WRN-d-k as an energy (Zagoruyko and Komodakis 2016, arXiv 1605.07146).

The thesis and JEM++ use WRN-28-10 with batch norm. The first stage is the one convolution before the
first block, as in JEM++: it is affine, so PYLD has a closed form (see `patchebm.training.samplers`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from patchebm.energy.activation import Activation, build_activation
from patchebm.energy.base import Energy
from patchebm.errors import ConfigError

Norm = Literal["batch", "group", "none"]
Pooling = Literal["mean", "logsumexp"]


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(min(8, channels), channels)
    return nn.Identity()


class _Block(nn.Module):
    """Pre-activation residual block: norm, activation, 3x3 convolution, twice."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm, activation: Activation) -> None:
        super().__init__()
        bias = norm == "none"
        self.before = nn.Sequential(_norm(norm, inputs), build_activation(activation))
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias),
            _norm(norm, outputs),
            build_activation(activation),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=bias),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.before(x)
        # A changed shape takes the activated input, an identity the raw one, as in the paper's code.
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(activated)
        return shortcut + self.body(activated)  # type: ignore[no-any-return]


class WideResNetEnergy(Energy):
    """WRN-depth-width with a scalar output, for any input of at least 4 x 4 pixels.

    Args:
        channels: input channels C.
        depth: number of convolutional layers d; d - 4 must be a multiple of 6 (10, 16, 22, 28, ...).
        width: widening factor k: the three groups have 16k, 32k and 64k channels.
        norm: normalisation before each activation; `none` gives the convolutions a bias instead.
        activation: `leaky_relu` (slope 0.2, as in JEM++) or `silu`.
        pooling: `mean` of the features before the linear head, as in JEM, or `logsumexp`: the head gives
            every pixel of the last features an energy, and their log-mean-exp counts.
        generator: draws the initial weights, so that one seed gives one network.

    Raises:
        ConfigError: a depth that no WRN has, or a width below 1.
    """

    first_stage_is_affine = True

    def __init__(
        self,
        channels: int,
        depth: int = 10,
        width: int = 1,
        norm: Norm = "batch",
        activation: Activation = "leaky_relu",
        pooling: Pooling = "mean",
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ConfigError(f"network depth {depth} is not 6n + 4; use 10, 16, 22 or 28")
        if width < 1:
            raise ConfigError(f"network width {width} is below 1; use 1, 2, 4, ...")
        blocks = (depth - 4) // 6
        self.stem = nn.Conv2d(channels, 16, 3, 1, 1)
        layers: list[nn.Module] = []
        inputs = 16
        for group, outputs in enumerate((16 * width, 32 * width, 64 * width)):
            for block in range(blocks):
                stride = 2 if group > 0 and block == 0 else 1
                layers.append(_Block(inputs, outputs, stride, norm, activation))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.final = nn.Sequential(_norm(norm, inputs), build_activation(activation))
        self.head = nn.Linear(inputs, 1)
        self._pooling = pooling
        self._initialise(generator)

    def _initialise(self, generator: torch.Generator) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, a=0.2, mode="fan_in", nonlinearity="leaky_relu", generator=generator
                )
            elif isinstance(module, nn.Linear):
                # Energies start near 0: a tenth of what would keep the features' scale.
                nn.init.normal_(module.weight, std=0.1 * module.in_features**-0.5, generator=generator)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """The first convolution: `(B, C, H, W)` to one `(B, 16, H, W)`."""
        # Channels last in memory, which all later layers keep: gradients take a quarter less time on a CPU.
        return (self.stem(x.contiguous(memory_format=torch.channels_last)),)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Blocks, linear head and pooling: energies `(B,)`."""
        features = self.final(self.blocks(hidden[0])).flatten(2)
        if self._pooling == "mean":
            return self.head(features.mean(2)).squeeze(1)  # type: ignore[no-any-return]
        pixels = self.head(features.transpose(1, 2)).squeeze(2)
        return torch.logsumexp(pixels, dim=1) - math.log(pixels.shape[1])
