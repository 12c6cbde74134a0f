"""This module draws one image of the benchmark from a seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import DataError
from patchebm_products.board import draw_board
from patchebm_products.canvas import Camera, Drawing
from patchebm_products.defects import LOCAL
from patchebm_products.fabric import draw_fabric
from patchebm_products.flange import draw_flange

_Draw = Callable[[np.random.Generator, np.random.Generator, int, str], Drawing]
_DRAW: dict[str, _Draw] = {"fabric": draw_fabric, "flange": draw_flange, "board": draw_board}
SIZES = (64, 1024)
PRODUCTS: tuple[str, ...] = tuple(_DRAW)
KINDS: Mapping[str, str] = MappingProxyType(
    {**dict.fromkeys(LOCAL, "local"), **dict.fromkeys(("missing", "misplaced", "deformed"), "global")}
)


def check(product: str, *, seed: int, size: int, defect: str = "good") -> None:
    """Raises DataError unless there is such a product and defect and the seed and size can be drawn."""
    if product not in PRODUCTS:
        raise DataError(f"there is no synthetic product {product!r}; choose one of {', '.join(PRODUCTS)}")
    if defect != "good" and defect not in KINDS:
        raise DataError(f"there is no synthetic defect {defect!r}; choose one of good, {', '.join(KINDS)}")
    if not SIZES[0] <= size <= SIZES[1]:
        raise DataError(f"size {size} cannot be drawn; choose a side from {SIZES[0]} to {SIZES[1]} pixels")
    if seed < 0:
        raise DataError(f"seed {seed} is negative; choose 0 or more")


def draw(
    product: str, *, seed: int, split: str, index: int, defect: str = "good", size: int = 128
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draws one image and its mask.

    The part, its surface and the camera depend on (seed, product, split, index) alone. With the same four, a
    defective image shows the good one's very part under the same light and noise: outside the mask they are
    equal to the bit.

    Args:
        product: one of PRODUCTS.
        seed: 0 or more.
        split: any name; images of different splits are unrelated.
        index: which image of the split, 0 or more.
        defect: "good" or one of KINDS.
        size: side in pixels, 64 to 1024.

    Returns:
        The image, (size, size, 3) uint8 RGB, and the mask of the defect, (size, size) bool, all False for
        "good". The mask is the defect's geometric support as the camera sees it.

    Raises:
        DataError: unknown product or defect, a size out of range, a negative seed or index.
    """
    check(product, seed=seed, size=size, defect=defect)
    if index < 0:
        raise DataError(f"image index {index} is negative; choose 0 or more")
    keys = [seed, zlib.crc32(product.encode()), zlib.crc32(split.encode()), index]
    # A child sequence per purpose: a longer loop in one of them must not move the others' numbers.
    part, camera_seed = np.random.SeedSequence(keys).spawn(2)
    fault = np.random.SeedSequence([*keys, zlib.crc32(defect.encode())])
    n = size * (3 if size <= 256 else 2)
    paint = _DRAW[product]
    camera = Camera(np.random.default_rng(camera_seed), size)
    good = paint(np.random.default_rng(part), np.random.default_rng(fault), n, "good")
    clean = camera.expose(good.rgb)
    mask: NDArray[np.bool_] = np.zeros((size, size), dtype=np.bool_)
    if defect == "good":
        return camera.develop(clean, clean), mask
    if KINDS[defect] == "local":
        rgb, support = LOCAL[defect](np.random.default_rng(fault), good)
    else:
        bad = paint(np.random.default_rng(part), np.random.default_rng(fault), n, defect)
        # A shadow or a sheen reaches beyond the outline of what is wrong.
        rgb, support = bad.rgb, bad.support | (np.abs(bad.rgb - good.rgb).max(axis=2) > 0.02)
    mask = camera.project(support.astype(np.float32)) > 0.1
    image = np.where(mask[..., None], camera.expose(np.clip(rgb, 0, 1)), clean)
    return camera.develop(image, clean), mask
