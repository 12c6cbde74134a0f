"""From an image to the one feature map that both levels look at."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from patchebm.config.schema import FeaturesConfig
from patchebm.errors import ConfigError, ImageError
from patchebm.features.backbone import Backbone
from patchebm.features.tiling import maps_of
from patchebm.features.views import resize


class FeatureMaps:
    """Resize, region of interest, backbone, all blocks on one grid, local means.

    Locally averaged features of several depths are those of PatchCore (Roth et al. 2022, arXiv 2106.08265,
    section 3.1).

    Args:
        backbone: gives a map for each block.
        config: sizes.

    Attributes:
        region: `config.size` float32, 0 where images are not looked at, or None.

    Raises:
        ConfigError: an input size that the backbone cannot take, or a grid finer than its finest map.
    """

    def __init__(self, backbone: Backbone, config: FeaturesConfig) -> None:
        self.backbone = backbone
        self._config = config
        self.channels = sum(backbone.channels)
        self.grid = config.grid
        self.region: Tensor | None = None
        for side in config.size:
            if side % backbone.multiple:
                raise ConfigError(
                    f"features.size {list(config.size)}: {backbone.name} takes multiples of "
                    f"{backbone.multiple}; use for instance [256, 256]"
                )
        stride = min(backbone.strides)
        finest = [side // stride for side in config.size]
        if config.grid[0] > finest[0] or config.grid[1] > finest[1]:
            raise ConfigError(
                f"features.grid {list(config.grid)} is finer than the finest features, {finest} at block "
                f"{backbone.blocks[0]} of {backbone.name}; use a coarser grid, a larger features.size or an "
                "earlier block"
            )

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """The map of one image.

        Args:
            image: `(3, H, W)` float32 in [-1, 1].

        Returns:
            `(channels, *grid)` float32.

        Raises:
            ImageError: the backbone gives what is not a finite number.
        """
        resized = resize(image, self._config.size)
        if self.region is not None:
            # Mid-grey outside: there all images look alike.
            resized = resized * self.region
        maps = maps_of(self.backbone, resized[None])
        joined = torch.cat([self._on_grid(m) for m in maps], dim=1)
        if self._config.pool > 1:
            side = self._config.pool
            # With zeros beyond the border: its features, which saw the padding of the backbone, count less.
            joined = avg_pool2d(joined, side, stride=1, padding=side // 2)
        if not torch.isfinite(joined).all():
            raise ImageError(
                f"{self.backbone.name} gives features that are not finite; check the image and the weights"
            )
        return joined[0].contiguous()

    def _on_grid(self, features: Tensor) -> Tensor:
        grid = self._config.grid
        if tuple(features.shape[-2:]) == tuple(grid):
            return features.float()
        # Antialiasing changes nothing where a map grows, and costs much more.
        finer = features.shape[-2] > grid[0] or features.shape[-1] > grid[1]
        return interpolate(features.float(), size=grid, mode="bilinear", antialias=finer, align_corners=False)
