"""What a fit keeps of many images, each of which is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from patchebm.detector.held_out_sample import HeldOutSample
from patchebm.detector.kept_maps import KeptMaps
from patchebm.detector.level import Damaged, KeptViews, Level
from patchebm.detector.scorer import PixelInputs
from patchebm.detector.surround import Surround
from patchebm.detector.survey import Decoded
from patchebm.errors import ImageError
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.views import Resized
from patchebm.progress import progress_bar

if TYPE_CHECKING:
    from patchebm.detector.defect_source import DefectSource
    from patchebm.processes import Processes
    from patchebm.training.variations import Variations

# Cells of feature maps that an energy is fitted on, of all images together, and bytes of maps that are
# kept, in a file, to calibrate on: what bounds the room that a fit takes, whatever the number of images.
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
        thumbnails: `(3, 64, 64)` of each image that is held out, None for the others; empty where all of the
            images is inspected.
        variations: how versions of the images were made; None where there are none.
    """

    inputs: FeatureExtractor | PixelInputs
    levels: dict[str, Level]
    kept: dict[str, KeptViews]
    images: int
    thumbnails: list[Tensor | None]
    variations: Variations | None = None

    def subset(
        self,
        chosen: Sequence[int],
        levels: dict[str, Level],
        again: Callable[[int], NDArray[np.float32]] | None = None,
    ) -> Reading:
        """Return what was kept of some of the images, for levels that are not fitted yet.

        Args:
            chosen: indices of the images.
            levels: not fitted yet.
            again: gives the pixels of an image, for those of the others that were only added up: they are
                taken out of the sums. None where all others are held out.
        """
        kept = {}
        left_out = sorted(set(range(self.images)) - set(chosen))
        for name, own in self.kept.items():
            kept[name] = own.subset(chosen)
            added = [i for i in left_out if own.sums is not None and not own.is_held_out(i)]
            if own.sums is not None and added:
                assert again is not None
                maps = (self._map(again(i)) for i in added)
                sums = own.sums.without(map(levels[name].held_out_view, maps))
                kept[name] = replace(kept[name], sums=sums)
        thumbnails = [self.thumbnails[i] for i in chosen] if self.thumbnails else []
        return replace(self, levels=levels, kept=kept, images=len(chosen), thumbnails=thumbnails)

    def without_sums(self) -> Reading:
        """Return what was kept without the images that are not held out."""
        return replace(self, kept={name: replace(own, sums=None) for name, own in self.kept.items()})

    def _map(self, pixels: NDArray[np.float32]) -> Tensor:
        """Return what levels keep views of, of an image `(H, W, 1 or 3)`."""
        assert isinstance(self.inputs, FeatureExtractor)
        return _given(self.inputs, torch.from_numpy(pixels)[None].to(self.inputs.device))

    def versions_alone(self) -> Reading:
        """Return a single image and its versions as if each were an image of its own."""
        kept = {}
        for name, own in self.kept.items():
            maps = [own.held_out[0], *own.versions[0]]
            numbers = range(len(maps))
            damaged = [[one for one in own.damaged[0] if one.version == number] for number in numbers]
            kept[name] = KeptViews([own.views[0] for _ in numbers], maps, damaged, [[] for _ in numbers])
        return replace(self, kept=kept, images=1 + len(next(iter(self.kept.values())).versions[0]))


def read_images(
    images: Iterable[Decoded],
    expected: int,
    levels: dict[str, Level],
    inputs: FeatureExtractor | PixelInputs,
    defects: DefectSource | None,
    variations: Variations | None,
    seed: int,
    device: torch.device,
    groups: Sequence[str | None] | None = None,
    group_of: Callable[[int], str | None] | None = None,
    processes: Processes | None = None,
    *,
    surround: bool = False,
) -> Reading:
    """Read each image once and keep what the levels need of it.

    Args:
        images: good images.
        expected: how many they are, at most.
        levels: decide what is kept.
        inputs: what brings images to the levels; it is on `device`.
        defects: draws synthetic defects; None for none.
        variations: makes changed versions of images; None for none.
        seed: draws which cells, and which images, are kept where all would be too many.
        device: where features are computed.
        groups: of all images that are expected, the part that each shows, if known; None for none.
        group_of: gives the part of an image that was read; None where they are `groups` in their order, as
            they are unless some cannot be read.
        processes: compute what is kept; None has this process compute it. The result is the same.
        surround: whether thumbnails are kept for what lies around the box that is inspected.

    Raises:
        ImageError: an image cannot be read, or cannot be used; names it.
        PatchebmError: there is no room for the maps.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = max(1, MAX_CELLS // max(1, expected))
    sample = HeldOutSample(expected, _most(expected, inputs), seed, groups)
    if groups is not None and group_of is None:
        group_of = groups.__getitem__
    # Pixels are small, and may have to be turned into colour once all are read.
    on_disk = isinstance(inputs, FeatureExtractor)
    kept = {
        name: KeptViews([], KeptMaps() if on_disk else [], [], [], level.new_sums(device))
        for name, level in levels.items()
    }
    extraction = _Extraction(inputs, defects, variations, seed, device, sample.size, surround)

    def takes(i: int) -> bool:
        return sample.takes(i, None if group_of is None else group_of(i))

    def calls() -> Iterator[tuple[Decoded, int, int | None]]:
        chosen = 0
        for i, image in enumerate(images):
            held_out = takes(i)
            yield image, i, chosen if held_out else None
            chosen += held_out

    found = (
        starmap(extraction, calls())
        if processes is None
        else processes.map(processes.share(extraction), calls())
    )
    small: list[Tensor | None] = []
    count = 0
    with progress_bar(expected, "read", "image", leave=False) as bar:
        for i, (called, given, varied, damaged, thumbnail) in enumerate(found):
            held_out = takes(i)
            if surround:
                small.append(thumbnail)
            try:
                for name, level in levels.items():
                    own = kept[name]
                    own.views.append(level.training_views(given, cells, generator))
                    view = level.held_out_view(given)
                    own.held_out.append(view if held_out else None)
                    if own.sums is not None and sample.whole and not held_out:
                        own.sums.add(view)
                    own.damaged.append(
                        [
                            replace(one, view=level.held_out_view(one.view))
                            for one in damaged
                            if level.learns_damage or one.kind != "learn"
                        ]
                    )
                    own.versions.append(
                        [level.held_out_view(one) for one in varied if level.config.takes_few]
                    )
            except ImageError as error:
                raise ImageError(f"{called}: {error}") from error
            count += 1
            bar.update()
    if isinstance(inputs, PixelInputs) and count:
        inputs.channels = _in_one_colour(kept)
    return Reading(inputs, levels, kept, count, small, variations)


class _Extracted(NamedTuple):
    """What is computed of an image, before levels take their views of it.

    Attributes:
        name: what messages call the image.
        given: the joined map `(C, h, w)`, or the image in [-1, 1], on the CPU.
        varied: the same of changed versions of the image.
        damaged: the same of synthetic defects in it.
        thumbnail: `(3, 64, 64)`; None where none is kept.
    """

    name: str
    given: Tensor
    varied: list[Tensor]
    damaged: list[Damaged]
    thumbnail: Tensor | None


@dataclass(frozen=True)
class _Extraction:
    """Computes the features of an image and of its changed versions, from the image and its numbers alone.

    Attributes:
        inputs: what brings images to the levels; it is on `device`.
        defects: draws synthetic defects; None for none.
        variations: makes changed versions; None for none.
        seed: of the versions.
        device: where features are computed.
        held_out: how many images are held out, at most.
        surround: whether thumbnails are kept of these.
    """

    inputs: FeatureExtractor | PixelInputs
    defects: DefectSource | None
    variations: Variations | None
    seed: int
    device: torch.device
    held_out: int
    surround: bool

    def __call__(self, image: Decoded, index: int, place: int | None) -> _Extracted:
        """Compute the features of an image and of its changed versions.

        Args:
            image: the image.
            index: its number.
            place: its number among those that are held out; None if it is not.

        Raises:
            ImageError: it cannot be used; names it.
        """
        pixels = torch.from_numpy(image.pixels)[None].to(self.device)
        try:
            given = _given(self.inputs, pixels)
            versions = [pixels]
            if self.variations is not None:
                versions += self.variations.draw(pixels, np.random.default_rng([self.seed, index]))
            varied = [_given(self.inputs, version) for version in versions[1:]]
            damaged: list[Damaged] = []
            if self.defects is not None and place is not None:
                each = 1 if self.variations is None else 1 + self.variations.each
                for number, version in enumerate(versions):
                    drawn = self.defects.damaged(version, place * each + number, self.held_out * each)
                    damaged += [replace(one, version=number) for one in drawn]
        except ImageError as error:
            raise ImageError(f"{image.name}: {error}") from error
        thumbnail = Surround.thumbnails(pixels)[0].cpu() if self.surround and place is not None else None
        return _Extracted(image.name, given, varied, damaged, thumbnail)


def _in_one_colour(kept: Mapping[str, KeptViews]) -> int:
    """Turn grey images of pixels among colour ones into colour, in place; return the channels of all."""
    channels: int = max(view.pixels.shape[0] for own in kept.values() for view in own.views)
    for own in kept.values():
        assert isinstance(own.held_out, list)
        for i, (view, held_out) in enumerate(zip(own.views, own.held_out, strict=True)):
            own.views[i] = Resized(view.pixels.expand(channels, -1, -1), view.scale)
            if held_out is not None:
                own.held_out[i] = held_out.expand(channels, -1, -1)
    return channels


def thumbnails(images: Iterable[Tensor]) -> NDArray[np.float64]:
    """Return the means of 4 x 4 cells of images, or maps of features, `(N, 16 * C)`."""
    coarse = [adaptive_avg_pool2d(image.float(), 4).flatten() for image in images]
    return torch.stack(coarse).double().numpy()


def _given(inputs: FeatureExtractor | PixelInputs, pixels: Tensor) -> Tensor:
    """Return what levels keep views of, on the CPU: the joined map `(C, h, w)`, or the image in [-1, 1]."""
    with torch.no_grad():
        if isinstance(inputs, FeatureExtractor):
            return inputs.join(inputs(inputs.prepare(pixels)))[0].cpu()
        # Grey stays grey: how many channels the model has is known when all images were read.
        return PixelInputs(pixels.shape[3]).prepare(pixels)[0].cpu()


def _most(images: int, inputs: FeatureExtractor | PixelInputs) -> int:
    """Return how many images calibrate at most: all, or as many as there is room for their maps."""
    if isinstance(inputs, PixelInputs):
        return images
    # Two bytes a value.
    return MAX_MAP_BYTES // (2 * inputs.channels * inputs.grid[0] * inputs.grid[1])
