"""From what users give, files or arrays, to what levels see; and what a fit keeps of many images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from patchebm.config.schema import Level
from patchebm.detector.level import LevelModel, TrainingSet
from patchebm.errors import ImageError
from patchebm.features.maps import FeatureMaps
from patchebm.features.views import to_tensor
from patchebm.images.photo import Photo
from patchebm.images.reading import read_image
from patchebm.progress import progress_bar

Image: TypeAlias = "str | Path | Photo | NDArray[np.float32]"
"""A file, or an array `(H, W, 1 or 3)` float32 in [0, 1] as `patchebm.images.reading.read_image` gives."""

# Cells of feature maps that an energy is fitted on, of all images together, and bytes of maps kept to
# calibrate on: what bounds the memory of a fit, whatever the number of images.
MOST_CELLS = 200_000
MOST_MAP_BYTES = 500 * 2**20


def read_training(
    images: Sequence[Image],
    levels: Mapping[Level, LevelModel],
    maps: FeatureMaps | None,
    parts: list[str],
    folds: NDArray[np.int64],
    seed: int,
) -> dict[Level, TrainingSet]:
    """Read each image once and keep what the levels need of it.

    Args:
        images: good images.
        levels: decide what is kept.
        maps: None where levels look at pixels.
        parts: `(N,)` the physical part that each image shows.
        folds: `(N,)` outer fold of each.
        seed: draws which cells, and which images, are kept where all would be too many.

    Raises:
        ImageError: an image cannot be read, or cannot be used; names it.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = max(1, MOST_CELLS // len(images))
    calibrating = _calibrating(len(images), maps, seed)
    kept: dict[Level, TrainingSet] = {name: TrainingSet([], [], parts, folds) for name in levels}
    with progress_bar(len(images), "read", "image", leave=False) as bar:
        for i, image in enumerate(images):
            pixels = array_of(image, i)
            tensor = to_tensor(pixels, pixels.shape[2] if maps is None else 3)
            seen = see(maps, tensor, name_of(image, i))
            for name, level in levels.items():
                try:
                    kept[name].drawn.append(level.for_training(seen, cells, generator))
                except ImageError as error:
                    raise ImageError(f"{name_of(image, i)}: {error}") from error
                kept[name].scored.append(level.for_calibration(seen) if calibrating[i] else None)
            bar.update()
    if maps is None:
        channels = max(image.shape[0] for own in kept.values() for image in own.images)
        for own in kept.values():
            own.expand(channels)
    return kept


def see(maps: FeatureMaps | None, image: Tensor, name: str) -> Tensor:
    """What levels look at: the image `(C, H, W)`, or its map of features.

    Raises:
        ImageError: the features are not finite; names the image.
    """
    if maps is None:
        return image
    try:
        return maps(image)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def looks_of(images: Sequence[Tensor]) -> NDArray[np.float64]:
    """What images, or maps of features, look like from afar: `(N, 16 * C)`, the means of 4 x 4 cells."""
    coarse = [adaptive_avg_pool2d(image.float(), 4).flatten() for image in images]
    return torch.stack(coarse).double().numpy()


def name_of(image: Image, index: int) -> str:
    """What messages call an image: its path, or its number."""
    if isinstance(image, Photo):
        return str(image.path)
    return str(image) if isinstance(image, str | Path) else f"image {index}"


def array_of(image: Image, index: int) -> NDArray[np.float32]:
    """Pixels `(H, W, C)` of a file or of an array that is checked.

    Raises:
        ImageError: the file cannot be read, or the array is of the wrong shape, type or range.
    """
    if isinstance(image, Photo):
        return image.pixels
    if isinstance(image, str | Path):
        return read_image(image)
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] not in (1, 3) or not min(array.shape):
        raise ImageError(f"image {index} has shape {array.shape}; give (height, width, 1 or 3)")
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"image {index} has dtype {array.dtype}; give float32 in [0, 1] (bytes divided by 255)"
        )
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise ImageError(f"image {index} has values outside [0, 1]; scale it and remove NaN")
    return array.astype(np.float32, copy=False)


def _calibrating(images: int, maps: FeatureMaps | None, seed: int) -> NDArray[np.bool_]:
    """Which images calibrate `(N,)`: all, or a random share whose maps fit into memory."""
    most = images
    if maps is not None:
        # Two bytes a value.
        most = MOST_MAP_BYTES // (2 * maps.channels * maps.grid[0] * maps.grid[1])
    return np.random.default_rng(seed).permutation(images) < most
