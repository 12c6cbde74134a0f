"""This module holds what the products share: random fields, coordinates, a pen with a pose, the camera.

Lengths are in units of the image's side, x to the right and y down. Products are drawn on a fine canvas of
`n` x `n` pixels, several times the image's size, and the camera brings them down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
Color = tuple[float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """This class is a part on its fine canvas, before light and camera.

    Attributes:
        rgb: (n, n, 3) float32, reflectance in [0, 1].
        part: (n, n) bool, where a local defect may lie.
        support: (n, n) bool, what a global defect has changed; all False on a good part.
    """

    rgb: Plane
    part: Mask
    support: Mask


def grid(n: int) -> tuple[Plane, Plane]:
    """Returns x and y of the pixels' centres: (1, n) and (n, 1) float32 in (0, 1), to be broadcast."""
    ticks = ((np.arange(n) + 0.5) / n).astype(np.float32)
    return ticks[None, :], ticks[:, None]


def field(rng: np.random.Generator, n: int, cells: int) -> Plane:
    """Returns a smooth random field, (n, n) float32 with standard deviation about 0.8.

    It has `cells` independent values along a side; they do not depend on n.
    """
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((n, n), Image.Resampling.BICUBIC), dtype=np.float32)


def cover(distance: Plane, n: int, soft: float = 0.0) -> Plane:
    """Returns the coverage in [0, 1] of the region `distance` < 0; its edge is `soft` wide or a pixel."""
    return np.asarray(np.clip(0.5 - distance / max(soft, 1.0 / n), 0.0, 1.0), dtype=np.float32)


def blend(rgb: Plane, color: Color | Plane, alpha: Plane) -> None:
    """Lays `color`, one or (n, n, 3), over `rgb` (n, n, 3) in place with opacity `alpha` (n, n)."""
    rgb += alpha[..., None] * (np.asarray(color, dtype=np.float32) - rgb)


@dataclass(frozen=True)
class Pose:
    """This class places points affinely: p of the part lies at `matrix` @ (p - pivot) + pivot + shift.

    `matrix` is given by rows: (a, b, c, d) stands for [[a, b], [c, d]].
    """

    pivot: Point = (0.5, 0.5)
    shift: Point = (0.0, 0.0)
    matrix: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)

    @staticmethod
    def turned(pivot: Point, shift: Point, degrees: float, scale: float = 1.0) -> Pose:
        """Returns the pose that turns and scales about `pivot`, then shifts."""
        c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
        return Pose(pivot, shift, (c, -s, s, c))


class Pen:
    """This class draws filled shapes on a fine Pillow image through a stack of poses, innermost first."""

    def __init__(self, image: Image.Image, poses: Sequence[Pose] = ()) -> None:
        self._draw = ImageDraw.Draw(image)
        linear, offset = np.eye(2), np.zeros(2)
        for pose in poses:
            turn, pivot = np.array(pose.matrix).reshape(2, 2), np.array(pose.pivot)
            linear, offset = turn @ linear, turn @ (offset - pivot) + pivot + np.array(pose.shift)
        # Pillow counts from the middle of the first pixel.
        self._linear, self._offset = image.width * linear.T, image.width * offset - 0.5

    def polygon(self, points: Sequence[Point] | NDArray[np.float64], fill: Color | float) -> None:
        """Fills a polygon; `fill` is in [0, 1]."""
        placed: list[float] = (np.asarray(points) @ self._linear + self._offset).ravel().tolist()
        ink = (
            tuple(round(255 * min(max(c, 0.0), 1.0)) for c in fill)
            if isinstance(fill, tuple)
            else round(255 * fill)
        )
        self._draw.polygon(placed, fill=ink)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Color | float) -> None:
        """Fills the rectangle from (x0, y0) to (x1, y1)."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def disc(self, x: float, y: float, radius: float, fill: Color | float) -> None:
        """Fills a disc."""
        angles = np.linspace(0.0, 2 * np.pi, 40 if radius > 0.015 else 14, endpoint=False)
        self.polygon(np.array([x, y]) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1), fill)

    def line(self, start: Point, end: Point, width: float, fill: Color | float) -> None:
        """Fills a straight bar `width` wide from `start` to `end`."""
        a, b = np.array(start), np.array(end)
        side = (b - a)[::-1] * np.array([-1.0, 1.0]) * (width / 2 / max(math.dist(start, end), 1e-9))
        self.polygon(np.stack([a + side, b + side, b - side, a - side]), fill)


class Camera:
    """This class is one exposure: light gradient, vignetting, tint, blur and noise, all drawn at once.

    The same camera takes the part with and without its defect, so that they differ by the defect alone.

    Args:
        rng: drawn from here and nowhere else.
        size: side of the image in pixels.
    """

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        x, y = grid(size)
        angle = rng.uniform(0, 2 * np.pi)
        slope = rng.uniform(0.04, 0.22)
        centre = 0.5 + rng.normal(0, 0.06, 2)
        vignetting = rng.uniform(0.1, 0.35)
        gain = np.exp(rng.normal(0, 0.055))
        self._gamma = float(np.exp(rng.normal(0, 0.035)))
        tint = np.exp(rng.normal(0, 0.012, 3))
        self._tap = float(rng.uniform(0.09, 0.14))
        self._grain = float(rng.uniform(0.0085, 0.0100))
        ramp = 1 + slope * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle))
        falloff = 1 - vignetting * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2)
        self._light = (gain * ramp * falloff)[..., None] * tint
        noise = rng.standard_normal((size, size, 3), dtype=np.float32)
        # A sensor's noise is partly shared by the colours, since they come from one demosaiced mosaic.
        self._noise = 0.6 * noise + 0.8 * noise[..., 1:2]
        self.size = size

    def project(self, fine: Plane) -> Plane:
        """Brings (n, n) or (n, n, 3) down to the image's size by area, through the lens' slight blur."""
        step = fine.shape[0] // self.size
        small = fine.reshape(self.size, step, self.size, step, -1).mean(axis=(1, 3), dtype=np.float32)
        for axis in (0, 1):
            edge = np.pad(small, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
            first, last = (edge[:-2], edge[2:]) if axis == 0 else (edge[:, :-2], edge[:, 2:])
            small = small + self._tap * (first + last - 2 * small)
        return np.asarray(small[..., 0] if fine.ndim == 2 else small, dtype=np.float32)

    def expose(self, fine: Plane) -> Plane:
        """Returns the noise-free image, (size, size, 3) float32 around [0, 1]."""
        lit = np.maximum(self.project(fine) * self._light, 0.0)
        return np.asarray(np.power(lit, self._gamma), dtype=np.float32)

    def develop(self, image: Plane, level: Plane) -> NDArray[np.uint8]:
        """Adds the sensor's noise and round to (size, size, 3) uint8; `level` sets the noise's strength.

        Bright pixels are noisier (photon noise). `level` is the good part's image, with or without defect.
        """
        noisy = image + self._grain * np.sqrt(0.6 + 0.5 * level) * self._noise
        return np.asarray(np.clip(np.rint(255 * noisy), 0, 255), dtype=np.uint8)
