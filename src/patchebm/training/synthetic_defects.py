"""Synthetic defects: damage that is drawn into images of good parts, with a mask of where it is.

Half of what the network of a position level is trained against comes from here, and the weights of levels are
found on it. Each defect is a shape, filled with something that does not belong there. Cut and pasted pieces
are those of CutPaste (Li et al. 2021, arXiv 2104.04015), shapes of thresholded noise those of DRAEM
(Zavrtanik et al. 2021, arXiv 2108.07610).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Plane = NDArray[np.float32]

# Side in pixels of the square that defects are drawn on; the image is brought to it, and what has changed is
# then brought to the size at which features are computed, so that edges come out as a camera's would.
CANVAS = 512
# Places are drawn cell by cell: the canvas has 64 x 64 cells of 8 pixels.
PLACE = 8
# Smallest and largest extent of a local defect, and of a global one, in pixels of the canvas.
LOCAL, GLOBAL = (8.0, 90.0), (80.0, 220.0)
# A defect that changes an image by less than this share of its contrast could not be seen, and is drawn
# again.
VISIBLE = 0.025
# So often, at most.
ATTEMPTS = 6


class Box(NamedTuple):
    """Rows and columns of the canvas that a defect covers."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, image: Plane) -> Plane:
        """Return this part of an image `(..., H, W)`."""
        return image[..., self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class DefectArtist:
    """Draws defects where parts have something to damage.

    Attributes:
        places: `(CANVAS / 8, CANVAS / 8)` the probability that a defect is centred in each cell; sums to 1.
        contrast: difference of the brightest and the darkest values that images have, in [0, 1].
        grey: whether images have no colour, so that defects have none either.
        extents: smallest and largest extent of a local defect, in pixels of the canvas.
    """

    places: NDArray[np.float64]
    contrast: float
    grey: bool
    extents: tuple[float, float] = LOCAL

    @classmethod
    def learn(
        cls,
        canvases: NDArray[np.float32],
        *,
        grey: bool,
        region: NDArray[np.float32] | None = None,
        extents: tuple[float, float] = LOCAL,
    ) -> DefectArtist:
        """Learn where parts have structure.

        Args:
            canvases: `(N, 3, CANVAS, CANVAS)` good images in [0, 1].
            grey: whether the images have no colour.
            region: `(CANVAS / 8, CANVAS / 8)` the share of each cell that is inspected; None for all.
            extents: smallest and largest extent of a local defect, in pixels of the canvas.
        """
        n, side = len(canvases), CANVAS // PLACE
        cells = canvases.mean(1).reshape(n, side, PLACE, side, PLACE).mean((2, 4))
        edges = np.abs(cells[:, 1:, :-1] - cells[:, :-1, :-1]) + np.abs(
            cells[:, :-1, 1:] - cells[:, :-1, :-1]
        )
        # Smoothed over five cells, and a floor, so that no place is out of reach.
        structure = gaussian_filter(np.pad(edges.mean(0), ((0, 1), (0, 1))), 1.5, mode="nearest").astype(
            float
        )
        places = structure / max(structure.mean(), 1e-9) + 0.15
        if region is not None:
            # What is not inspected needs no defects; a trace stays, so that the sum is never 0.
            places *= region + 1e-6
        low, high = np.quantile(canvases[:, :, ::4, ::4], [0.005, 0.995])
        return cls(places / places.sum(), max(float(high - low), 0.1), grey, extents)

    def draw(self, image: Plane, other: Plane, rng: np.random.Generator) -> Plane:
        """Draw one local defect into an image, in place.

        Args:
            image: `(3, CANVAS, CANVAS)` in [0, 1].
            other: another good image, of the same shape, from which pieces may be pasted.
            rng: decides everything.

        Returns:
            `(CANVAS, CANVAS)` in [0, 1]: how much of each pixel the shape covers; all 0 in the rare case that
            no attempt was visible.
        """
        for _ in range(ATTEMPTS):
            extent = float(np.exp(rng.uniform(*np.log(self.extents))))
            shape = _SHAPES[rng.integers(len(_SHAPES))](extent, rng)
            box, cover = self._placed(shape, rng)
            if not cover.size or cover.max() < 0.3:
                continue
            old = box.of(image)
            fill = _FILLS[rng.integers(len(_FILLS))]
            new = np.clip(fill(self, image, other, box, extent, rng), 0, 1)
            opacity = cover * rng.uniform(0.35, 1)
            if (np.abs(new - old) * opacity).sum() / (3 * cover.sum()) < VISIBLE * self.contrast:
                continue
            return _painted(image, box, cover, old * (1 - opacity) + new * opacity)
        return np.zeros(image.shape[1:], np.float32)

    def draw_global(self, image: Plane, other: Plane, rng: np.random.Generator) -> Plane:
        """Draw one global defect as `draw` does.

        A piece is missing, moved elsewhere, turned, doubled or of another colour.
        """
        del other
        extent = float(np.exp(rng.uniform(*np.log(GLOBAL))))
        shape = _BLOCKS[rng.integers(len(_BLOCKS))](extent, rng)
        half = shape.shape[0] // 2
        box, elsewhere = self._inside(half, rng), self._inside(half, rng)
        old, there = box.of(image).copy(), elsewhere.of(image).copy()
        border = np.concatenate([image[:, :4].reshape(3, -1), image[:, -4:].reshape(3, -1)], 1)
        ground = np.broadcast_to(np.median(border, 1)[:, None, None], old.shape)
        kind = rng.integers(5)
        if kind == 0:
            new = ground
        elif kind == 1:
            new = np.rot90(old, int(rng.integers(1, 4)), (1, 2))
        elif kind == 2:
            new = there
        elif kind == 3:
            new = np.clip(old * self.tint(rng), 0, 1)
        else:
            gone = _painted(image, box, shape, old * (1 - shape) + ground * shape)
            # What is there by now: the two places may overlap.
            there = elsewhere.of(image).copy()
            return np.maximum(gone, _painted(image, elsewhere, shape, there * (1 - shape) + old * shape))
        return _painted(image, box, shape, old * (1 - shape) + new * shape)

    def _inside(self, half: int, rng: np.random.Generator) -> Box:
        """Draw a square that lies wholly inside the canvas, as a piece that is turned must."""
        y, x = (int(np.clip(v, half, CANVAS - half - 1)) for v in self._place(rng))
        return Box(y - half, y + half + 1, x - half, x + half + 1)

    def _place(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draw a pixel of the canvas."""
        cell = int(rng.choice(self.places.size, p=self.places.ravel()))
        y, x = divmod(cell, self.places.shape[1])
        return y * PLACE + int(rng.integers(PLACE)), x * PLACE + int(rng.integers(PLACE))

    def _placed(self, shape: Plane, rng: np.random.Generator) -> tuple[Box, Plane]:
        """Centre a shape at a random place; return the part of the canvas and that of the shape inside it."""
        half = shape.shape[0] // 2
        y, x = self._place(rng)
        box = Box(max(y - half, 0), min(y + half + 1, CANVAS), max(x - half, 0), min(x + half + 1, CANVAS))
        return box, shape[
            box.top - y + half : box.bottom - y + half, box.left - x + half : box.right - x + half
        ]

    def piece(self, image: Plane, height: int, width: int, rng: np.random.Generator) -> Plane:
        """Cut a piece out of an image at a random place."""
        y, x = self._place(rng)
        top, left = np.clip(y - height // 2, 0, CANVAS - height), np.clip(x - width // 2, 0, CANVAS - width)
        return image[:, top : top + height, left : left + width]

    def tint(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw factors `(3, 1, 1)` that brighten or darken, channel by channel where there is colour."""
        if self.grey:
            return np.full((3, 1, 1), rng.choice([rng.uniform(0.4, 0.7), rng.uniform(1.3, 1.8)]))
        return rng.uniform(0.4, 1.6, (3, 1, 1))


def _painted(image: Plane, box: Box, cover: Plane, new: NDArray[np.floating]) -> Plane:
    """Put a part into an image, in place; return the mask of it."""
    box.of(image)[...] = new
    mask = np.zeros(image.shape[1:], np.float32)
    box.of(mask)[...] = cover
    return mask


# Shapes: squares of odd side, in [0, 1], of a defect of the given largest extent.


def _axes(extent: float, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Coordinates along two axes that are turned by a random angle, with the shape's centre at 0."""
    reach = math.ceil(extent / 2) + 3
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _soft(shape: NDArray[np.bool_]) -> Plane:
    """An edge of about two pixels, as a lens would make it."""
    soft: Plane = gaussian_filter(shape.astype(np.float32), 0.7)
    return soft


def _blob(extent: float, rng: np.random.Generator) -> Plane:
    u, v = _axes(extent, rng)
    radius = np.hypot(u, v)
    noise = gaussian_filter(
        rng.standard_normal(u.shape).astype(np.float32), max(extent / rng.uniform(4, 9), 0.8)
    )
    noise /= noise.std() + 1e-6
    shape = (noise - 1.2 * np.square(2 * radius / extent) > -0.3) & (radius <= extent / 2)
    return _soft(shape if shape.sum() >= 4 else radius <= 0.3 * extent)


def _ellipse(extent: float, rng: np.random.Generator) -> Plane:
    u, v = _axes(extent, rng)
    half = extent / 2
    return _soft(np.square(u / half) + np.square(v / max(half * rng.uniform(0.3, 1), 1)) <= 1)


def _rectangle(extent: float, rng: np.random.Generator) -> Plane:
    u, v = _axes(extent, rng)
    half = 0.8 * extent / 2
    return _soft((np.abs(u) <= half) & (np.abs(v) <= max(half * rng.uniform(0.3, 1), 1)))


def _scratch(extent: float, rng: np.random.Generator) -> Plane:
    u, v = _axes(extent, rng)
    half, width = extent / 2, rng.uniform(0.8, 2.5)
    bend = rng.uniform(-0.6, 0.6) / half
    # A parabola about its own mean.
    return _soft((np.abs(v - bend * (u * u - half * half / 3)) <= width) & (np.abs(u) <= half))


_BLOCKS = (_blob, _ellipse, _rectangle)
_SHAPES = (*_BLOCKS, _scratch)


# Fills: what the box of a defect holds, `(3, h, w)`.

Fill = Callable[[DefectArtist, Plane, Plane, Box, float, np.random.Generator], NDArray[np.floating]]


def _own(
    artist: DefectArtist, image: Plane, other: Plane, box: Box, extent: float, rng: np.random.Generator
) -> Plane:
    """Another place of the same image."""
    del other, extent
    return artist.piece(image, box.bottom - box.top, box.right - box.left, rng)


def _other(
    artist: DefectArtist, image: Plane, other: Plane, box: Box, extent: float, rng: np.random.Generator
) -> Plane:
    """A place of another good image, turned and perhaps mirrored."""
    del image, extent
    height, width = box.bottom - box.top, box.right - box.left
    side = max(height, width)
    turned = np.rot90(artist.piece(other, side, side, rng), int(rng.integers(4)), (1, 2))
    if rng.random() < 0.5:
        turned = turned[:, :, ::-1]
    return turned[:, :height, :width]


def _brightness(
    artist: DefectArtist, image: Plane, other: Plane, box: Box, extent: float, rng: np.random.Generator
) -> Plane:
    """Brighter or darker."""
    del other, extent
    brighter: Plane = box.of(image) + np.float32(
        rng.choice([-1, 1]) * rng.uniform(0.1, 0.45) * artist.contrast
    )
    return brighter


def _blur(
    artist: DefectArtist, image: Plane, other: Plane, box: Box, extent: float, rng: np.random.Generator
) -> Plane:
    """Without its detail; some pixels around the box blur into it."""
    del artist, other, extent
    rim = 8
    top, left = max(box.top - rim, 0), max(box.left - rim, 0)
    around = image[:, top : box.bottom + rim, left : box.right + rim]
    width = rng.uniform(3, 8)
    blurred: Plane = gaussian_filter(around, (0, width, width))
    return blurred[:, box.top - top : box.bottom - top, box.left - left : box.right - left]


def _warp(
    artist: DefectArtist, image: Plane, other: Plane, box: Box, extent: float, rng: np.random.Generator
) -> Plane:
    """Its own pixels, pushed around by 4 to 12 pixels."""
    del artist, other
    rows, columns = np.mgrid[box.top : box.bottom, box.left : box.right]
    reach = rng.uniform(4, 12)
    pushed = []
    for place in (rows, columns):
        push = gaussian_filter(rng.standard_normal(place.shape), max(extent / 5, 2))
        moved = place + reach * push / (np.abs(push).max() + 1e-6)
        pushed.append(np.clip(moved, 0, CANVAS - 1).astype(int))
    return image[:, pushed[0], pushed[1]]


def _colour(
    artist: DefectArtist, image: Plane, other: Plane, box: Box, extent: float, rng: np.random.Generator
) -> NDArray[np.floating]:
    """Of another colour; of other contrast where images are grey."""
    del other, extent
    old = box.of(image)
    if artist.grey:
        mean = old.mean((1, 2), keepdims=True)
        changed: NDArray[np.floating] = mean + (old - mean) * rng.choice(
            [rng.uniform(-0.8, 0.4), rng.uniform(1.8, 3)]
        )
        return changed
    if rng.random() < 0.5:
        return old * artist.tint(rng)
    # Half its grey in a random hue, and half that hue as bright as the place is in the mean.
    hue = rng.uniform(0, 1, (3, 1, 1))
    hue /= max(hue.mean(), 1e-3)
    tinted: NDArray[np.floating] = 0.5 * (old.mean(0, keepdims=True) + old.mean()) * hue
    return tinted


_FILLS: tuple[Fill, ...] = (_own, _other, _brightness, _blur, _warp, _colour)
