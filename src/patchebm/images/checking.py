"""This module finds images that cannot be used before anything is done with the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from patchebm.errors import DataError, ImageError
from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.image_file import ImageFile
from patchebm.images.photo import Photo
from patchebm.images.reading import read_masks


def check_images(
    images: Iterable[ImageFile], *, skip_bad: bool = False, decoding: Decoding = STANDARD
) -> tuple[list[ImageFile], list[tuple[ImageFile, str]]]:
    """Reads every image and its mask to the end, so that a bad file is found before hours of training.

    Args:
        images: what to check.
        skip_bad: whether bad images are returned; otherwise they are an error.
        decoding: what the numbers of the files mean.

    Returns:
        The good images, in their order, and the bad ones, each with the sentence that says why.

    Raises:
        ImageError: without `skip_bad`, if any image or mask is bad; names the first, counts the others.
        DataError: with `skip_bad`, if there are images and not one of them is good.
    """
    bad: list[tuple[ImageFile, str]] = []
    good = [image for image, _ in readable_photos(images, bad, decoding)]
    refuse_bad(bad, len(good), skip_bad=skip_bad)
    return good, bad


def readable_photos(
    images: Iterable[ImageFile], bad: list[tuple[ImageFile, str]], decoding: Decoding = STANDARD
) -> Iterator[tuple[ImageFile, Photo]]:
    """Yields each image that can be read, and whose mask can, with its photo, decoded.

    The photo is released when the next one is asked for, so that one image at a time is in memory.

    Args:
        images: in the order in which they are read.
        bad: gets each of the other images with the sentence that says why it cannot be used.
        decoding: what the numbers of the files mean.
    """
    for image in images:
        photo = Photo(image.path, decoding)
        try:
            height, width, _ = photo.pixels.shape
            if image.masks:
                read_masks(image.masks, (height, width))
        except ImageError as error:
            bad.append((image, str(error)))
        else:
            yield image, photo
        photo.release()


def refuse_bad(bad: Sequence[tuple[ImageFile, str]], good: int, *, skip_bad: bool) -> None:
    """Raises an error if images cannot be used and were not to be skipped, or if no other is left.

    Args:
        bad: images that cannot be used, each with the sentence that says why.
        good: the number of the other images.
        skip_bad: whether bad images may be left out.

    Raises:
        ImageError: without `skip_bad`, if any image is bad; names the first, counts the others.
        DataError: with `skip_bad`, if no image is good.
    """
    if not bad:
        return
    first, others = bad[0][1], len(bad) - 1
    more = f" ({others} more of {good + len(bad)} images cannot be used either)" if others else ""
    if not skip_bad:
        raise ImageError(f"{first}{more}")
    if not good:
        raise DataError(f"no image is left after skipping the bad ones: {first}{more}")
