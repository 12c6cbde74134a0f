"""What a fit keeps of many images, each of which is read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from patchebm.detector.level import KeptViews, Level
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


@dataclass(frozen=True)
class Reading:
    """What was kept of good images, each of which was read once.

    Attributes:
        inputs: what brought the images to the levels.
        levels: not fitted yet.
        kept: what each level kept of the images.
        images: how many.
    """

    inputs: FeatureExtractor | PixelInputs
    levels: dict[str, Level]
    kept: dict[str, KeptViews]
    images: int


def read_images(
    images: Iterable[Image],
    expected: int,
    levels: dict[str, Level],
    inputs: FeatureExtractor | PixelInputs,
    seed: int,
    device: torch.device,
) -> Reading:
    """Read each image once and keep what the levels need of it.

    Args:
        images: good images.
        expected: how many they are, at most.
        levels: decide what is kept.
        inputs: what brings images to the levels; it is on `device`.
        seed: draws which cells, and which images, are kept where all would be too many.
        device: where features are computed.

    Raises:
        ImageError: an image cannot be read, or cannot be used; names it.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = max(1, MAX_CELLS // max(1, expected))
    calibrating = _calibrating(expected, inputs, seed)
    kept = {name: KeptViews([], []) for name in levels}
    count = 0
    with progress_bar(expected, "read", "image", leave=False) as bar:
        for i, image in enumerate(images):
            pixels = torch.from_numpy(pixels_of(image, i))[None]
            try:
                given = _given(inputs, pixels.to(device))
                for name, level in levels.items():
                    kept[name].views.append(level.training_views(given, cells, generator))
                    kept[name].held_out.append(level.held_out_view(given) if calibrating[i] else None)
            except ImageError as error:
                raise ImageError(f"{name_of(image, i)}: {error}") from error
            count += 1
            bar.update()
    if isinstance(inputs, PixelInputs) and count:
        inputs.channels = _in_one_colour(kept)
    return Reading(inputs, levels, kept, count)


def _in_one_colour(kept: Mapping[str, KeptViews]) -> int:
    """Turn grey images of pixels among colour ones into colour, in place; return the channels of all."""
    channels: int = max(view.pixels.shape[0] for own in kept.values() for view in own.views)
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
    with torch.no_grad():
        # Grey stays grey: how many channels the model has is known when all images were read.
        image = PixelInputs(pixels.shape[3]).prepare(pixels)
        if isinstance(inputs, FeatureExtractor):
            # Scaled before the resize rather than after it, as `prepare` does for speed: what differs is
            # rounding alone, but training turns that into hundredths of a standard deviation, and a seed is
            # to give the model that it always gave.
            return inputs.join(inputs(resize(image.expand(-1, 3, -1, -1), inputs.size)))[0].cpu()
        return image[0].cpu()


def _calibrating(images: int, inputs: FeatureExtractor | PixelInputs, seed: int) -> NDArray[np.bool_]:
    """Decide which images calibrate `(N,)`: all, or a random share whose maps fit into memory."""
    most = images
    if isinstance(inputs, FeatureExtractor):
        # Two bytes a value.
        most = MAX_MAP_BYTES // (2 * inputs.channels * inputs.grid[0] * inputs.grid[1])
    return np.random.default_rng(seed).permutation(images) < most
