"""This module is a product's region of interest: the part of each image that is inspected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError, ImageError
from patchebm.images.decoders import decode
from patchebm.images.samples import Samples
from patchebm.runtime.bundle_predictor import BundlePredictor

MIN_SIDE = 16
"""Pixels along a side, at least."""

MAX_SIDE = 65535


@dataclass(frozen=True)
class Roi:
    """This class is a rectangle in pixels of the upright image.

    The model gets what lies inside, as if the image ended there; a region that a model was trained with
    (`patchebm train --roi`) lies within it.

    Attributes:
        x: of its left edge.
        y: of its upper edge.
        width: in pixels.
        height: in pixels.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def facts(self) -> dict[str, Any]:
        """Returns it as it is stored, and as REST shows it."""
        return asdict(self)

    def fits(self, width: int, height: int) -> bool:
        """Says whether it lies within an image."""
        return self.x + self.width <= width and self.y + self.height <= height

    def misfit(self, width: int, height: int) -> str:
        """Returns why it does not fit an image."""
        return (
            f"{width} x {height} pixels, and the region of interest reaches to {self.x + self.width} x "
            f"{self.y + self.height}"
        )

    def cut(self, samples: Samples, name: str | Path) -> Samples:
        """Returns what of an image lies inside. Raises ImageError if it does not fit; names the image."""
        height, width = samples.values.shape[:2]
        if not self.fits(width, height):
            raise ImageError(
                f"{name} has {self.misfit(width, height)}; change the region on the product's page, or send "
                "images of the size that it was drawn on"
            )
        rows, columns = slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)
        alpha = None if samples.alpha is None else np.ascontiguousarray(samples.alpha[rows, columns])
        return replace(samples, values=np.ascontiguousarray(samples.values[rows, columns]), alpha=alpha)

    def on_image(
        self, heat: NDArray[np.float32], width: int, height: int, outside: float
    ) -> NDArray[np.float32]:
        """Returns the map of the whole image.

        Args:
            heat: `(self.height, self.width)` the map of what lies inside.
            width: of the image.
            height: of the image.
            outside: value of what was not inspected.
        """
        whole = np.full((height, width), outside, dtype=np.float32)
        whole[self.y : self.y + self.height, self.x : self.x + self.width] = heat
        return whole

    def on_image_region(self, region: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
        """Returns a region of the anomaly map (see `Prediction.record`) in pixels of the whole image."""
        left, top, *size = region["box"]
        across, down = region["centre"]
        return {
            **region,
            "share": region["area"] / (width * height),
            "box": [left + self.x, top + self.y, *size],
            "centre": [across + self.x, down + self.y],
        }


def roi_of(facts: Mapping[str, Any] | None) -> Roi | None:
    """Returns a region of interest from what is stored, or sent; None for the whole image.

    Raises:
        ConfigError: it is no such rectangle.
    """
    if facts is None:
        return None
    known = [one.name for one in fields(Roi)]
    if set(facts) != set(known) or not all(type(value) is int for value in facts.values()):
        raise ConfigError(f"the region of interest must be {', '.join(known)} in whole pixels of the image")
    roi = Roi(**facts)
    if min(roi.x, roi.y) < 0 or max(roi.x + roi.width, roi.y + roi.height) > MAX_SIDE:
        raise ConfigError("the region of interest lies outside of any image; give x and y from 0 on")
    if min(roi.width, roi.height) < MIN_SIDE:
        raise ConfigError(f"the region of interest must be at least {MIN_SIDE} x {MIN_SIDE} pixels")
    return roi


def read_inside(
    predictor: BundlePredictor, content: bytes, name: str, roi: Roi | None
) -> tuple[NDArray[np.float32], int, int]:
    """Returns the pixels of an image file that a model gets.

    Args:
        predictor: the model, which knows what numbers of files mean.
        content: of the file.
        name: what messages call it.
        roi: of the product.

    Returns:
        Pixels `(H, W, 1 or 3)` float32 in [0, 1], and width and height of the whole image.

    Raises:
        ImageError: it cannot be read, or the region does not fit it.
    """
    decoding, path = predictor.decoding_, Path(name)
    samples = decode(content, path, decoding.page)
    height, width = samples.values.shape[:2]
    inside = samples if roi is None else roi.cut(samples, name)
    predictor.notices.note(decoding.misfit(inside, path))
    return decoding.pixels(inside, path), width, height
