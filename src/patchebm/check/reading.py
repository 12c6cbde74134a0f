"""This module reads every image of a set once, as training and evaluation would, and keeps what is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchebm.check.thumbnails import SIDE, thumbnail_of
from patchebm.images.checking import readable_photos
from patchebm.images.decoding import UNKNOWN_DEPTH, Decoding, Misfit
from patchebm.images.depth import Depth, measure_depth
from patchebm.images.fingerprints import Duplicate, FingerprintTaker, find_duplicates
from patchebm.images.folders import ImageSet
from patchebm.images.image_file import ImageFile
from patchebm.images.masks import Mask
from patchebm.images.photo import Photo
from patchebm.images.profile import Traits
from patchebm.images.reading import read_masks
from patchebm.images.taking import Copies, TakenImages
from patchebm.runtime.inputs import MIN_SIDE, readable_samples

# Nothing that a camera gives is this even.
_BLANK = 1 / 255


@dataclass
class CheckedTraining:
    """This class is what was found in the images to train on.

    Attributes:
        decoding: what their numbers mean, with the white level that was found.
        depth: what 16-bit images show of the camera's bits, if there are any and nobody said it.
        good, bad: those that can be read, and the others with the reason.
        traits: of the good ones.
        thumbnails: `(N, SIDE * SIDE * 3)` their small versions.
        numbers: how many files hold which type of number, such as uint8.
        blank: those of one colour all over.
        small: those with too few pixels.
        misfits: what makes images doubtful, of each kind the first, and how many there are.
        transparency: what becomes of transparent images, or "".
        copies: which show the same photograph.
    """

    decoding: Decoding
    depth: Depth | None = None
    good: list[ImageFile] = field(default_factory=list)
    bad: list[tuple[ImageFile, str]] = field(default_factory=list)
    traits: list[Traits] = field(default_factory=list)
    thumbnails: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, SIDE * SIDE * 3), np.float32)
    )
    numbers: Counter[str] = field(default_factory=Counter)
    blank: list[Path] = field(default_factory=list)
    small: list[Path] = field(default_factory=list)
    misfits: dict[str, tuple[Misfit, int]] = field(default_factory=dict)
    transparency: str = ""
    copies: Copies = field(default_factory=lambda: Copies([], []))

    def note(self, misfit: Misfit | None) -> None:
        """Counts what makes an image doubtful."""
        if misfit is not None:
            first, count = self.misfits.get(misfit.kind, (misfit, 0))
            self.misfits[misfit.kind] = (first, count + 1)


@dataclass
class CheckedTest:
    """This class is what was found in the test images.

    Attributes:
        good, bad: those that can be read with their masks, and the others with the reason.
        traits: of those that show good parts.
        masks: what the masks of an image say, for those that have any.
        trained: those that are training images, too.
    """

    good: list[ImageFile] = field(default_factory=list)
    bad: list[tuple[ImageFile, str]] = field(default_factory=list)
    traits: list[Traits] = field(default_factory=list)
    masks: list[tuple[ImageFile, Mask]] = field(default_factory=list)
    trained: list[Duplicate] = field(default_factory=list)


def read_set(
    image_set: ImageSet, decoding: Decoding, tick: Callable[[], object] = lambda: None
) -> tuple[CheckedTraining, CheckedTest]:
    """Reads all images of a set, one at a time.

    Args:
        image_set: lists them.
        decoding: what the numbers of files mean, as far as a user has said it.
        tick: called for each image.
    """
    training = CheckedTraining(decoding)
    taken = TakenImages(_ticking(image_set.train, tick), image_set.root, lambda: training.decoding)
    thumbnails = []
    for photo in taken:
        _settle_depth(training, photo, [image.path for image in image_set.train])
        pixels = photo.pixels
        thumbnails.append(thumbnail_of(pixels))
        training.numbers[photo.numbers] += 1
        if float(pixels.max() - pixels.min()) < _BLANK:
            training.blank.append(photo.path)
        if min(pixels.shape[:2]) < MIN_SIDE:
            training.small.append(photo.path)
        training.note(photo.misfit)
    training.good, training.bad, training.traits = taken.good, taken.bad, taken.traits
    training.transparency = taken.transparency(training.decoding)
    if thumbnails:
        training.thumbnails = np.stack(thumbnails)
        training.copies = taken.find_copies()
    test = CheckedTest()
    taker = FingerprintTaker(image_set.root)
    for image, photo in readable_photos(_ticking(image_set.test, tick), test.bad, training.decoding):
        test.good.append(image)
        taker.add(photo)
        if image.anomalous is False:
            test.traits.append(Traits.of(photo))
        if image.masks:
            height, width, _ = photo.pixels.shape
            test.masks.append((image, read_masks(image.masks, (height, width))))
    if taken.good and test.good:
        test.trained = find_duplicates(taken.fingerprints, taker.fingerprints())
    return training, test


def _settle_depth(training: CheckedTraining, photo: Photo, paths: Sequence[Path]) -> None:
    """Finds which number is white from all training images, at the first that does not say it."""
    misfit = photo.misfit
    if misfit is None or misfit.kind != UNKNOWN_DEPTH:
        return
    training.depth = measure_depth(readable_samples(paths, training.decoding))
    assert training.depth is not None
    training.decoding = replace(training.decoding, white_level=training.depth.white_level)
    photo.decoding = training.decoding


def _ticking(images: Iterable[ImageFile], tick: Callable[[], object]) -> Iterator[ImageFile]:
    for image in images:
        yield image
        tick()
