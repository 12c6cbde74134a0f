"""Frozen pretrained networks that turn an image into feature maps."""

from __future__ import annotations

import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from patchebm.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from typing_extensions import Self

BACKBONES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
"""Names of the built-in backbones; beside them there is `timm:NAME`."""

TIMM = "timm:"


class Backbone(nn.Module, ABC):
    """A frozen network from which the outputs of some blocks are taken.

    It is always in evaluation mode, none of its parameters asks for a gradient and none flows through it. A
    subclass builds its network, calls `_settle` and gives the maps.

    Args:
        name: what messages and model files call it.
        blocks: numbers of the blocks whose outputs are taken, ascending.
        sha256: of the weights, in hexadecimal.
        multiple: height and width of an image must be multiples of this.

    Attributes:
        name: as given.
        blocks: as given.
        sha256: as given.
        multiple: as given.
        reach: pixels around a place of a map that its value may depend on, or None if that is the whole
            image or not known.
        channels: channels of each map.
        strides: pixels of the image for each pixel of a map.
    """

    name: str
    blocks: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    sha256: str
    multiple: int
    reach: int | None = None

    def __init__(self, name: str, blocks: Sequence[int], sha256: str, multiple: int) -> None:
        super().__init__()
        self.name = name
        self.blocks = tuple(blocks)
        self.sha256 = sha256
        self.multiple = multiple

    @abstractmethod
    def maps(self, x: Tensor) -> list[Tensor]:
        """As `forward`, for a batch that was checked, and called where no gradient is kept."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of images.

        Args:
            x: `(B, 3, H, W)`, float32 in [-1, 1]; H and W are multiples of `multiple`.

        Returns:
            A map `(B, C_i, H / stride_i, W / stride_i)`, float32, for each of `blocks`, in that order,
            without gradient.

        Raises:
            ImageError: the batch does not have that shape.
            ConfigError: a map does not have that shape: what was taken is no map of features.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % self.multiple or x.shape[3] % self.multiple:
            raise ImageError(
                f"{self.name} takes images (B, 3, H, W) with H and W multiples of {self.multiple}, and got "
                f"{tuple(x.shape)}; resize them"
            )
        with torch.no_grad():
            maps = self.maps(x)
        for block, one, stride in zip(self.blocks, maps, self.strides, strict=True):
            if one.shape[2] * stride != x.shape[2] or one.shape[3] * stride != x.shape[3]:
                raise ConfigError(
                    f"block {block} of {self.name} gives {tuple(one.shape)} for images {tuple(x.shape)}, "
                    f"which is not one in {stride} pixels; choose a block that gives a map"
                )
        return maps

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the mode asked for."""
        del mode
        return super().train(False)

    def _settle(self, device: torch.device | None = None) -> None:
        """Freeze the network and find `channels` and `strides` by running a small image.

        Raises:
            ConfigError: the network cannot run, or an output is no map `(B, C, H / stride, W / stride)`.
        """
        self.requires_grad_(False)
        self.eval()
        side = self.multiple * -(-64 // self.multiple)
        try:
            with torch.no_grad():
                maps = self.maps(torch.zeros(1, 3, side, side, device=device))
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"{self.name} cannot run on an image of {side} x {side} pixels ({type(error).__name__}); "
                "choose another backbone"
            ) from error
        for block, one in zip(self.blocks, maps, strict=True):
            if one.ndim != 4 or one.shape[2] != one.shape[3] or not one.shape[2] or side % one.shape[2]:
                raise ConfigError(
                    f"block {block} of {self.name} gives {tuple(one.shape)} for an image of {side} x {side} "
                    "pixels, which is no map (B, C, H / stride, W / stride); choose another"
                )
        self.channels = tuple(one.shape[1] for one in maps)
        self.strides = tuple(side // one.shape[2] for one in maps)


def load_backbone(name: str, blocks: Sequence[int], weights: str | Path | None = None) -> Backbone:
    """A backbone by name, on the CPU.

    Args:
        name: one of `BACKBONES`, or `timm:NAME` for a model of the library timm.
        blocks: numbers of the blocks whose outputs are taken, ascending.
        weights: for a timm model, a safetensors file with its weights; None takes those that come with the
            backbone, which timm fetches from the network.

    Raises:
        ConfigError: an unknown name, blocks that it does not have, or a package that is not installed; says
            which command installs it.
        ModelFileError: the weights are missing or altered.
    """
    if name.startswith(TIMM):
        from patchebm.features.timm_backbone import TimmBackbone

        return TimmBackbone(name.removeprefix(TIMM), blocks, weights)
    if name not in BACKBONES:
        from patchebm.config.nearest import nearest

        raise ConfigError(
            f"features.backbone '{name}' is not known{nearest(name, BACKBONES)}; use {', '.join(BACKBONES)} "
            f"or {TIMM}NAME"
        )
    if weights is not None:
        raise ConfigError(
            f"features.weights is for {TIMM}NAME, and {name} has its weights from an installed package; "
            "leave it out"
        )
    from patchebm.features.efficientnet_lite import EfficientNetLite

    return EfficientNetLite(name, blocks)


def check_blocks(name: str, blocks: Sequence[int], count: int) -> None:
    """Refuse blocks that a backbone of `count` blocks does not have, and other than ascending ones.

    Raises:
        ConfigError: names `features.blocks` and the valid range.
    """
    has = f"and {name} has blocks 0 to {count - 1}"
    if not blocks:
        raise ConfigError(f"features.blocks is empty, {has}; name one or more of them")
    for block in blocks:
        if not 0 <= block < count:
            raise ConfigError(f"features.blocks has {block}, {has}; use those")
    if list(blocks) != sorted(set(blocks)):
        raise ConfigError(f"features.blocks {list(blocks)} is not ascending, {has}; name each once, in order")


def require(module: str, name: str, extra: str) -> ModuleType:
    """The Python package that the backbone `name` needs.

    Raises:
        ConfigError: it cannot be imported; says which command installs it.
    """
    try:
        return importlib.import_module(module)
    # RuntimeError: a torchvision, which timm imports, that was built for another torch.
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            f"{name} needs the package {module}, which cannot be imported ({type(error).__name__}); run "
            f"`pip install 'patchebm[{extra}]'`"
        ) from error


def state_sha256(module: nn.Module) -> str:
    """SHA-256, in hexadecimal, of the bytes of a module's state in sorted order of its keys."""
    digest = hashlib.sha256()
    for _, tensor in sorted(module.state_dict().items()):
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
