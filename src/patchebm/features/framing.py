"""Which part of an image is inspected, and at what size: found from good images alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchebm.features.resize import resize

if TYPE_CHECKING:
    from patchebm.config.features import ExtractorConfig

# Boxes are counted in 64ths of an image's sides, so that a map of the box can be put back in its place.
STEPS = 64
# The box leaves out so much of the structure on each side, and gets so many steps of margin (6 % of the
# image).
LEFT_OUT, MARGIN = 0.02, 4
# A box that leaves out less than a quarter of the image is not worth the risk of cutting something off.
WORTHWHILE = 0.75
# Sides in pixels from which one is chosen: the larger where most images have as many pixels themselves. An
# image that is enlarged shows nothing more; on sets of 120 to 300 pixels the larger one ranked worse.
SMALL, LARGE = 256, 384
# Pixels of the image for each cell of the grid.
CELL = 8
WHOLE = (0, STEPS, 0, STEPS)


@dataclass(frozen=True)
class Framing:
    """How images are brought to the backbone.

    Attributes:
        size: height and width to which the box is resized.
        grid: rows and columns of cells over it.
        box: top, bottom, left and right of the part that is inspected, in 64ths of the image's height and
            width.
        source: median height and width of the images that it was learned from; 0 where it was not learned.
    """

    size: tuple[int, int]
    grid: tuple[int, int]
    box: tuple[int, int, int, int] = WHOLE
    source: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, config: ExtractorConfig) -> Framing:
        """Return the framing that a configuration names, with the larger size where it names none."""
        return _sized(config, LARGE)

    @classmethod
    def learn(cls, images: Iterable[NDArray[np.float32]], config: ExtractorConfig, *, crop: bool) -> Framing:
        """Find the framing from good images.

        Args:
            images: `(H, W, 1 or 3)` float32 in [0, 1], each of any size; some tens are enough.
            config: may set the size and the grid, and forbid to crop.
            crop: whether a box may be looked for.
        """
        small, sizes = [], []
        for image in images:
            grey = torch.from_numpy(image).mean(2)
            small.append(resize(grey[None, None], (STEPS, STEPS))[0, 0])
            sizes.append((grey.shape[0], grey.shape[1]))
        if not small:
            return cls.of(config)
        box = _box(torch.stack(small)) if crop and config.crop else WHOLE
        top, bottom, left, right = box
        area = (bottom - top) * (right - left) / STEPS**2
        side = float(np.median([(height * width * area) ** 0.5 for height, width in sizes]))
        framing = _sized(config, LARGE if side >= LARGE else SMALL)
        height, width = (int(np.median(own)) for own in zip(*sizes, strict=True))
        return cls(framing.size, framing.grid, box, (height, width))

    def at(self, side: int, config: ExtractorConfig) -> Framing:
        """Return the same framing at another size, with the grid that goes with it."""
        sized = _sized(config, side)
        return replace(self, size=sized.size, grid=sized.grid)

    @property
    def whole(self) -> bool:
        """Whether all of the image is inspected."""
        return self.box == WHOLE

    @property
    def share(self) -> float:
        """The share of the image's area that is inspected."""
        top, bottom, left, right = self.box
        return (bottom - top) * (right - left) / STEPS**2

    @property
    def side(self) -> float:
        """Side in pixels of a square as large as what is inspected of an image of the `source` size."""
        return float((self.source[0] * self.source[1] * self.share) ** 0.5)

    def describe(self) -> str:
        """Say in a sentence what is inspected."""
        top, bottom, left, right = (f"{100 * edge / STEPS:.0f}" for edge in self.box)
        part = "the whole image"
        if not self.whole:
            part = (
                f"{100 * self.share:.0f} % of the image ({left} to {right} % of its width, "
                f"{top} to {bottom} % of its height)"
            )
        return f"inspects {part} at {self.size[1]} x {self.size[0]} px"

    def reason(self) -> str:
        """Say in a sentence why this size was taken where nobody named one, and what it costs."""
        own = f"good images have about {self.side:.0f} px there themselves"
        if self.size[0] < LARGE:
            return f"{SMALL} px were taken because {own}, and a larger size would show nothing more"
        share = 100 * (SMALL / LARGE) ** 2
        return (
            f"{LARGE} px were taken because {own}; at {SMALL} px an image would take about {share:.0f} % of "
            f"the time (--features.size '[{SMALL}, {SMALL}]')"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the framing as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Framing:
        """Take back what `to_dict` gave. Raises KeyError, TypeError or ValueError if it does not fit."""
        (height, width), (rows, columns) = values["size"], values["grid"]
        top, bottom, left, right = values["box"]
        if not (0 <= top < bottom <= STEPS and 0 <= left < right <= STEPS):
            raise ValueError(f"the box {values['box']} does not lie in an image")
        box = (int(top), int(bottom), int(left), int(right))
        source = (int(values["source"][0]), int(values["source"][1]))
        return cls((int(height), int(width)), (int(rows), int(columns)), box, source)


def cut(images: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """Return the part of images `(..., H, W)` inside a box in 64ths of their sides, rounded outwards."""
    top, bottom, left, right = box
    if box == WHOLE:
        return images
    height, width = images.shape[-2], images.shape[-1]
    return images[
        ...,
        height * top // STEPS : (height * bottom + STEPS - 1) // STEPS,
        width * left // STEPS : (width * right + STEPS - 1) // STEPS,
    ]


def _sized(config: ExtractorConfig, side: int) -> Framing:
    size = config.size or (side, side)
    grid = config.grid or (size[0] // CELL, size[1] // CELL)
    return Framing((size[0], size[1]), (grid[0], grid[1]))


def _box(small: Tensor) -> tuple[int, int, int, int]:
    """Find where the structure of grey images `(N, 64, 64)` lies.

    The mean gradient less what noise and cloth show everywhere (twice its 10 % quantile) is what counts.
    """
    values = small.double()
    down = values[:, 1:, :-1] - values[:, :-1, :-1]
    right = values[:, :-1, 1:] - values[:, :-1, :-1]
    mean = (down.square() + right.square()).sqrt().mean(0).numpy()
    structure = np.maximum(mean - 2 * np.quantile(mean, 0.1), 0)
    if structure.sum() <= 1e-9:
        return WHOLE
    edges: list[int] = []
    for axis in (1, 0):
        share = np.cumsum(structure.sum(axis)) / structure.sum()
        first, last = int(np.searchsorted(share, LEFT_OUT)), int(np.searchsorted(share, 1 - LEFT_OUT)) + 1
        edges += [max(first - MARGIN, 0), min(last + 1 + MARGIN, STEPS)]
    top, bottom, left, right_edge = edges
    if (bottom - top) * (right_edge - left) >= WORTHWHILE * STEPS**2:
        return WHOLE
    return top, bottom, left, right_edge
