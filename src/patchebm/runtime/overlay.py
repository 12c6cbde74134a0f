"""This module draws anomaly maps over the images that they belong to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchebm.runtime.plasma import plasma
from patchebm.runtime.prediction import Prediction
from patchebm.runtime.predictor import Predictor

__all__ = ["heat_overlay", "prediction_sheet", "side_by_side"]

# Opacity of the hottest heat. What was found must remain visible under it.
_STRONGEST = 0.75

# How bright the image around the defects of a mask is drawn, as a share of its own brightness.
_OUTSIDE_MASK = 0.35
_OUTLINE = (0.2, 0.9, 1.0)

# Rec. 601, the weights that Pillow converts RGB to grey with.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def prediction_sheet(
    predictor: Predictor, pixels: npt.NDArray[np.float32], prediction: Prediction
) -> Image.Image:
    """Puts an image and its anomaly map next to each other, as `patchebm predict --out` does.

    Args:
        predictor: that predicted; its calibration says from where to where colours run.
        pixels: (H, W, C) float32 in [0, 1], the image.
        prediction: with its map.
    """
    assert prediction.heat_map is not None
    low, high = predictor.heat_range(prediction.heat_map)
    overlay = heat_overlay(pixels, prediction.heat_map, low=low, high=high, mask=prediction.mask)
    return side_by_side(pixels, overlay, None)


def heat_overlay(
    image: npt.NDArray[np.float32],
    heat: npt.NDArray[np.float32],
    *,
    low: float,
    high: float,
    mask: npt.NDArray[np.bool_] | None = None,
) -> Image.Image:
    """Blends an anomaly map over the grey version of its image.

    Colour and opacity rise linearly with the heat from `low`, where nothing is drawn and the grey image
    itself shows, to `high`, where both are at their strongest (opacity 0.75). The same `low` and `high`
    for all images of a product make their overlays comparable.

    Args:
        image: (H, W, C) float32 in [0, 1] with C = 1 or 3.
        heat: (H, W) float32, higher is more anomalous.
        low: heat that good parts commonly show; up to it the overlay is transparent.
        high: heat from which the overlay does not get any stronger, greater than `low`.
        mask: (H, W) bool, the regions of the map, which are outlined; None for no outline.

    Returns:
        RGB image of size (W, H).

    Raises:
        ValueError: the shapes do not fit, the heat is not finite, or `low` is not below `high`.
    """
    rgb = _as_rgb(image)
    if heat.shape != rgb.shape[:2]:
        raise ValueError(f"an anomaly map of shape {heat.shape} does not fit an image of shape {image.shape}")
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    if not np.isfinite(heat).all():
        raise ValueError("the anomaly map has values that are not finite")
    strength = np.clip((heat - low) / (high - low), 0.0, 1.0).astype(np.float32)
    opacity = _STRONGEST * strength[..., None]
    drawn = opacity * plasma(strength) + (1.0 - opacity) * _grey(rgb)
    if mask is not None:
        if mask.shape != heat.shape:
            raise ValueError(
                f"a mask of shape {mask.shape} does not fit an anomaly map of shape {heat.shape}"
            )
        drawn[_outline(mask, max(1, mask.shape[1] // 300))] = _OUTLINE
    return _to_image(drawn)


def side_by_side(
    image: npt.NDArray[np.float32], overlay: Image.Image, mask: npt.NDArray[np.bool_] | None
) -> Image.Image:
    """Puts an image, its overlay and, where there is one, its mask next to each other.

    In the mask's panel the defects show as they are in the image, outlined, and all else is dark and grey.

    Args:
        image: (H, W, C) float32 in [0, 1] with C = 1 or 3.
        overlay: what `heat_overlay` made of it, of size (W, H).
        mask: (H, W) bool, True on defects, or None.

    Returns:
        RGB image of height H, its panels kept apart by narrow grey bars.

    Raises:
        ValueError: the shapes do not fit.
    """
    rgb = _as_rgb(image)
    height, width = rgb.shape[:2]
    if overlay.size != (width, height):
        raise ValueError(f"an overlay of size {overlay.size} does not fit an image of shape {image.shape}")
    panels = [_to_image(rgb), overlay.convert("RGB")]
    if mask is not None:
        if mask.shape != (height, width):
            raise ValueError(f"a mask of shape {mask.shape} does not fit an image of shape {image.shape}")
        defects = np.asarray(mask, dtype=bool)
        shown = np.where(defects[..., None], rgb, _OUTSIDE_MASK * _grey(rgb))
        # Dark defects on a dark part would be lost without a line around them.
        shown[_outline(defects, max(1, width // 150))] = _OUTLINE
        panels.append(_to_image(shown))
    gap = max(2, width // 60)
    sheet = Image.new("RGB", (len(panels) * (width + gap) - gap, height), (128, 128, 128))
    for index, panel in enumerate(panels):
        sheet.paste(panel, (index * (width + gap), 0))
    return sheet


def _outline(mask: npt.NDArray[np.bool_], thickness: int) -> npt.NDArray[np.bool_]:
    """Returns the pixels outside a mask (H, W) that lie within so many rows and columns of it."""
    grown = mask
    for _ in range(2):
        # The number of pixels of the mask in a window, from running sums: any thickness costs the same.
        sums = np.cumsum(np.pad(grown, ((thickness + 1, thickness), (0, 0))), axis=0, dtype=np.int32)
        grown = (sums[2 * thickness + 1 :] > sums[: -2 * thickness - 1]).T
    return grown & ~mask


def _as_rgb(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the image with three channels, (H, W, 3)."""
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"an image must have the shape (H, W, 1) or (H, W, 3), got {image.shape}")
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _grey(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the luma of the image, (H, W, 1)."""
    return np.asarray(rgb @ _LUMA, dtype=np.float32)[..., None]


def _to_image(rgb: npt.NDArray[np.float32]) -> Image.Image:
    """Returns an 8-bit image, rounded and clipped, of values (H, W, 3) in [0, 1]."""
    return Image.fromarray(np.rint(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8))
