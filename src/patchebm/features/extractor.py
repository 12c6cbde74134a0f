"""From images to the feature maps that all levels share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from patchebm.config.features import ExtractorConfig
from patchebm.errors import ConfigError, ImageError
from patchebm.features.backbone import Backbone
from patchebm.features.framing import Framing, cut
from patchebm.features.joining import Join, build_join
from patchebm.features.resize import resize
from patchebm.features.tiling import maps_of
from patchebm.runtime.engine import PREPARED
from patchebm.runtime.onnx_engine import OnnxEngine


class FeatureExtractor(nn.Module):
    """Resize, region of interest, backbone; and all blocks on one grid with local means.

    Locally averaged features of several depths are those of PatchCore (Roth et al. 2022, arXiv 2106.08265,
    section 3.1).

    Args:
        backbone: gives a map for each block.
        config: which blocks, and the window of local means.
        framing: which part of images is taken, at what size; None takes the whole image at the
            size of the configuration.

    Attributes:
        channels: of the joined map.
        framing: the same, or what stands for it.
        size: height and width to which images are resized.
        grid: rows and columns of the joined map.
        region: `size` float32, 0 where images are not inspected, or None.
        preparing: computes `prepare` before a backbone in int8, as exported models do: a last bit that
            differs moves a value across a step of int8, and with it many that follow; None for torch.

    Raises:
        ConfigError: an input size that the backbone cannot take, or a grid finer than its finest map.
    """

    region: Tensor | None

    def __init__(self, backbone: Backbone, config: ExtractorConfig, framing: Framing | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.framing = framing = framing or Framing.of(config)
        self.channels = sum(backbone.channels)
        self.size, self.grid = framing.size, framing.grid
        self.register_buffer("region", None)
        self.preparing: OnnxEngine | None = None
        for side in self.size:
            if side % backbone.multiple:
                raise ConfigError(
                    f"features.size {list(self.size)}: {backbone.name} takes multiples of "
                    f"{backbone.multiple}; use for instance [256, 256]"
                )
        stride = min(backbone.strides)
        finest = [side // stride for side in self.size]
        if self.grid[0] > finest[0] or self.grid[1] > finest[1]:
            raise ConfigError(
                f"features.grid {list(self.grid)} is finer than the finest features, {finest} at block "
                f"{backbone.blocks[0]} of {backbone.name}; use a coarser grid, a larger features.size or an "
                "earlier block"
            )

    @property
    def device(self) -> torch.device:
        """Where features are computed."""
        tensors = chain(self.backbone.parameters(), self.backbone.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def prepare(self, images: Tensor) -> Tensor:
        """Turn images `(B, H, W, 1 or 3)` in [0, 1] into `(B, 3, *size)` in [-1, 1]."""
        if self.preparing is not None and not torch.onnx.is_in_onnx_export():
            found = self.preparing.run(np.ascontiguousarray(images.numpy()), [PREPARED])
            return torch.from_numpy(found[PREPARED])
        resized = self.framed(images, self.size)
        # Three factors turn grey into colour in passing. After the resize there is less to do.
        return resized * torch.full((3, 1, 1), 2.0, device=resized.device) - 1

    def inside(self, prepared: Tensor) -> Tensor:
        """Make prepared images mid-grey outside the region: there all are alike."""
        return prepared if self.region is None else prepared * self.region

    def framed(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Cut and resize images `(B, H, W, 1 or 3)`, to `(B, 1 or 3, *size)`."""
        return resize(cut(images.permute(0, 3, 1, 2), self.framing.box), size)

    def forward(self, prepared: Tensor) -> list[Tensor]:
        """The blocks' maps `(B, c, h, w)` of prepared images `(B, 3, *size)`."""
        return maps_of(self.backbone, self.inside(prepared))

    def join(self, maps: Sequence[Tensor]) -> Tensor:
        """Bring the blocks' maps to the grid and average them locally: `(B, channels, *grid)` float32.

        Raises:
            ImageError: the backbone gives what is not a finite number.
        """
        joined = torch.cat([self._on_grid(m) for m in maps], dim=1)
        side = self.config.pool
        if side > 1:
            # With zeros beyond the border: its features, which saw the padding of the backbone, count less.
            joined = avg_pool2d(joined, side, stride=1, padding=side // 2)
        if not torch.isfinite(joined).all():
            raise ImageError(
                f"{self.backbone.name} gives features that are not finite; check the image and the weights"
            )
        return joined.contiguous()

    def fused_join(self, grid: tuple[int, int]) -> Join:
        """Return the cheap form of `join`, to a grid that may be coarser than the extractor's."""
        return build_join(self.backbone.strides, self.framing, self.config.pool, grid)

    def _on_grid(self, features: Tensor) -> Tensor:
        if tuple(features.shape[-2:]) == self.grid:
            return features.float()
        # Antialiasing changes nothing where a map grows, and costs much more.
        shrinks = features.shape[-2] > self.grid[0] or features.shape[-1] > self.grid[1]
        return interpolate(
            features.float(), size=self.grid, mode="bilinear", antialias=shrinks, align_corners=False
        )
