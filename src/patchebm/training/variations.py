"""Changed versions of good images, which stand for the images that there are not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from patchebm.features.resize import resize

# From so many images on, the images themselves show what varies, and no version is made.
ENOUGH = 20
# So many versions are made of all images together, about.
VERSIONS = 32
# A version is moved by at most this share of each side (10 of 256 pixels), and made brighter or darker by at
# most this share.
SHIFT, LIGHT = 0.04, 0.1
# Parts lie turned if a turn brings images nearer than this to each other, in mean squares of what they are
# without: on good images of `screw` .03 to .43, on those of seven sets whose parts are not turned .58 to 1.
TURNED = 0.5
# What a camera's noise adds to a mean square, so that identical images do not lie turned.
NOISE = 1e-6
# Side to which images are brought for that, the steps of turns in degrees, and how many images are compared.
SIDE, STEP, COMPARED = 64, 10, 8


@dataclass(frozen=True)
class Variations:
    """How good images are changed.

    Attributes:
        each: versions of each image.
        turned: whether versions are turned by any angle, since parts lie so.
    """

    each: int
    turned: bool

    @classmethod
    def of(cls, images: Iterable[NDArray[np.float32]], expected: int) -> Variations | None:
        """Return what few images need; None where they are enough.

        Args:
            images: `(H, W, 1 or 3)` float32 in [0, 1], some of them.
            expected: how many there are.
        """
        if not 0 < expected < ENOUGH:
            return None
        some = [image for image, _ in zip(images, range(COMPARED), strict=False)]
        return cls(math.ceil(VERSIONS / expected), lie_turned(some))

    def draw(self, pixels: Tensor, rng: np.random.Generator) -> Iterator[Tensor]:
        """Yield the versions of an image `(1, H, W, C)` in [0, 1], alike in shape; borders are repeated."""
        for _ in range(self.each):
            x = pixels.permute(0, 3, 1, 2)
            if self.turned:
                x = _turned(x, [float(rng.uniform(0, 360))])
            height, width = x.shape[2:]
            rows, columns = (
                (torch.arange(side, device=x.device) + round(side * rng.uniform(-SHIFT, SHIFT))).clamp(
                    0, side - 1
                )
                for side in (height, width)
            )
            x = x[:, :, rows][:, :, :, columns] * (1 + float(rng.uniform(-LIGHT, LIGHT)))
            yield x.clamp(0, 1).permute(0, 2, 3, 1).contiguous()

    def describe(self) -> str:
        """Say in a sentence what the versions are."""
        turned = ", turned by any angle, as the parts in the images are" if self.turned else ""
        return (
            f"few good images: each is fitted with {self.each} changed versions of itself, moved by up to "
            f"{100 * SHIFT:.0f} % and up to {100 * LIGHT:.0f} % brighter or darker{turned}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"each": self.each, "turned": self.turned}


def lie_turned(images: Iterable[NDArray[np.float32]]) -> bool:
    """Say whether parts lie turned in images: whether most images look much more like others that are turned.

    One image cannot say so, and identical ones do not.

    Args:
        images: `(H, W, 1 or 3)` float32 in [0, 1].
    """
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    # What a turn brings from beyond the border is not compared.
    disc = torch.from_numpy(np.hypot(y, x) < SIDE / 2 - 2)
    small = []
    for image in images:
        grey = torch.from_numpy(image).mean(2)
        side = min(grey.shape)
        top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
        one = resize(grey[None, None, top : top + side, left : left + side], (SIDE, SIDE))
        small.append(one - one[..., disc].mean())
    if len(small) < 2:
        return False
    angles = [float(angle) for angle in range(0, 360, STEP)]
    turned = [_turned(one.expand(len(angles), -1, -1, -1), angles)[:, 0, disc] for one in small]
    ratios = []
    for i, one in enumerate(small):
        others = torch.stack([own for j, own in enumerate(turned) if j != i])
        distance = (others - one[0, 0, disc]).square().mean(2)
        ratios.append(float((distance.min() + NOISE) / (distance[:, 0].min() + NOISE)))
    return float(np.median(ratios)) < TURNED


def _turned(x: Tensor, angles: list[float]) -> Tensor:
    """Turn images `(B, C, H, W)` about their centres, each by its angle in degrees."""
    height, width = x.shape[2:]
    angle = torch.deg2rad(torch.tensor(angles))
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Coordinates run from -1 to 1 along both sides, whatever their lengths.
    rows = [[cos, -sin * height / width, zero], [sin * width / height, cos, zero]]
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1).to(x)
    grid = affine_grid(theta, list(x.shape), align_corners=False)
    return grid_sample(x, grid, padding_mode="border", align_corners=False)
