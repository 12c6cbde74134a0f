"""Features of large images in bounded memory: tile by tile, the same as of the whole."""

from __future__ import annotations

import torch
from torch import Tensor

from patchebm.features.backbone import Backbone

# Images up to this many pixels are looked at as a whole: a backbone's widest layer then takes about 100 MB.
MAX_PIXELS = 1024 * 1024
# Side of a tile without its margin. With the margin of EfficientNet-Lite0 (192 px to each side) half of what
# is computed is kept; larger tiles waste less and take more memory.
TILE = 768


def maps_of(backbone: Backbone, x: Tensor) -> list[Tensor]:
    """The backbone's maps of images, in tiles where they are large.

    A tile is looked at with a margin as wide as the backbone's reach, and the margin of its maps is cut off,
    so that what remains is what the whole image would give.

    Args:
        backbone: one whose reach is not known sees images of any size as a whole.
        x: as `Backbone.forward` takes it.

    Returns:
        As `Backbone.forward`.
    """
    height, width = x.shape[-2:]
    if backbone.reach is None or height * width <= MAX_PIXELS:
        return backbone(x)  # type: ignore[no-any-return]
    # Offsets are multiples of what the strides multiply to, or maps would be those of a shifted image.
    unit = max(backbone.multiple, *backbone.strides)
    margin = -(-backbone.reach // unit) * unit
    rows = []
    for top in range(0, height, TILE):
        row = []
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            first, start = max(0, top - margin), max(0, left - margin)
            maps = backbone(x[:, :, first : min(bottom + margin, height), start : min(right + margin, width)])
            inside = (top - first, bottom - first, left - start, right - start)
            row.append(
                [_cut(m, *(i // s for i in inside)) for m, s in zip(maps, backbone.strides, strict=True)]
            )
        rows.append([torch.cat(parts, dim=3) for parts in zip(*row, strict=True)])
    return [torch.cat(parts, dim=2) for parts in zip(*rows, strict=True)]


def _cut(maps: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    return maps[:, :, top:bottom, left:right]
