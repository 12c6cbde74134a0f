"""What a fit keeps of many images, each of which is read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from patchebm.detector.level import Level, TrainingSet
from patchebm.detector.scorer import PixelInputs
from patchebm.errors import ImageError
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.resize import resize
from patchebm.features.views import Resized
from patchebm.progress import progress_bar
from patchebm.runtime.inputs import Image, name_of, pixels_of

# Cells of feature maps that an energy is fitted on, of all images together, and bytes of maps kept to
# calibrate on: what bounds the memory of a fit, whatever the number of images.
MAX_CELLS = 200_000
MAX_MAP_BYTES = 500 * 2**20


def read_training(
    images: Sequence[Image],
    levels: Mapping[str, Level],
    inputs: FeatureExtractor | PixelInputs,
    parts: list[str],
    folds: NDArray[np.int64],
    seed: int,
    device: torch.device,
) -> dict[str, TrainingSet]:
    """Read each image once and keep what the levels need of it.

    Args:
        images: good images.
        levels: decide what is kept.
        inputs: what brings images to the levels; it is on `device`.
        parts: `(N,)` the physical part that each image shows.
        folds: `(N,)` outer fold of each.
        seed: draws which cells, and which images, are kept where all would be too many.
        device: where features are computed.

    Raises:
        ImageError: an image cannot be read, or cannot be used; names it.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = max(1, MAX_CELLS // len(images))
    calibrating = _calibrating(len(images), inputs, seed)
    kept: dict[str, TrainingSet] = {name: TrainingSet([], [], parts, folds) for name in levels}
    with progress_bar(len(images), "read", "image", leave=False) as bar:
        for i, image in enumerate(images):
            name = name_of(image, i)
            pixels = torch.from_numpy(pixels_of(image, i))[None]
            try:
                given = _given(inputs, pixels.to(device))
                for level_name, level in levels.items():
                    own = kept[level_name]
                    own.views.append(level.training_views(given, cells, generator))
                    own.held_out.append(level.held_out_view(given) if calibrating[i] else None)
            except ImageError as error:
                raise ImageError(f"{name}: {error}") from error
            bar.update()
    return kept


def to_colour(kept: Mapping[str, TrainingSet]) -> int:
    """Turn grey images of pixels among colour ones into colour, in place; return the channels of all."""
    channels = max(view.pixels.shape[0] for own in kept.values() for view in own.views)
    for own in kept.values():
        for i, (view, held_out) in enumerate(zip(own.views, own.held_out, strict=True)):
            own.views[i] = Resized(view.pixels.expand(channels, -1, -1), view.scale)
            if held_out is not None:
                own.held_out[i] = held_out.expand(channels, -1, -1)
    return channels


def thumbnails(images: Sequence[Tensor]) -> NDArray[np.float64]:
    """Return the means of 4 x 4 cells of images, or maps of features, `(N, 16 * C)`."""
    coarse = [adaptive_avg_pool2d(image.float(), 4).flatten() for image in images]
    return torch.stack(coarse).double().numpy()


def _given(inputs: FeatureExtractor | PixelInputs, pixels: Tensor) -> Tensor:
    """Return what levels keep views of, on the CPU: the joined map `(C, h, w)`, or the image in [-1, 1]."""
    with torch.inference_mode():
        # Grey stays grey: how many channels the model has is known when all images were read.
        image = PixelInputs(pixels.shape[3]).prepare(pixels)
        if isinstance(inputs, FeatureExtractor):
            # Scaled before the resize rather than after it, as `prepare` does for speed: what differs is
            # rounding alone, but training turns that into hundredths of a standard deviation, and a seed is to
            # give the model that it always gave.
            return inputs.join(inputs(resize(image.expand(-1, 3, -1, -1), inputs.size)))[0].cpu()
        return image[0].cpu()


def _calibrating(
    images: int, inputs: FeatureExtractor | PixelInputs, seed: int
) -> NDArray[np.bool_]:
    """Decide which images calibrate `(N,)`: all, or a random share whose maps fit into memory."""
    most = images
    if isinstance(inputs, FeatureExtractor):
        # Two bytes a value.
        most = MAX_MAP_BYTES // (2 * inputs.channels * inputs.grid[0] * inputs.grid[1])
    return np.random.default_rng(seed).permutation(images) < most
