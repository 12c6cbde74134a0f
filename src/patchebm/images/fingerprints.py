"""This module recognises an image that was trained on: the same file, or the same photograph saved again.

Difference hashes (64 or 256 bits) do not tell good parts apart: on the development set `bottle` the nearest
of 63 training images is 4 of 256 bits away from a test image, nearer than most re-encoded copies. What
tells two photographs of like parts apart is fine detail, after what all training images share is taken
away.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.errors import DataError
from patchebm.files import replacing
from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.photo import Photo
from patchebm.provenance import name_below

SIDE = 64
"""Pixels a side of a fingerprint."""

NEAR = 0.986
"""Similarity from which two images count as one photograph.

Measured: of the 1191 test images of the six development sets none is nearer than .9844 to a training
image (cubes, a scene photographed every ten seconds; in four of the sets none is nearer than .90). Of
copies of training images, all at half the size and 98 % as JPEG of quality 60 are beyond it, 90 % with
noise of 5/255, 85 % a tenth brighter (not where that washes white out); a copy shifted by 1 % is another
image, and of images of hardly more than 64 px JPEG changes the very detail that is compared.
"""

SAME_FRAME = 0.998
"""Similarity from which two images of one set count as one photograph though all its images are much alike.

What a set's images share is not taken away here: of a set that is one frame saved again and again, nothing
else would be left. The nearest two photographs of the eight development sets reach .9952 (cubes).
"""

_CHUNK, _BLOCK = 256, 1024
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Fingerprints:
    """This class holds what is kept of images to recognise them.

    Attributes:
        names: of the files, below the folder of their image set.
        sha256: of their bytes.
        details: `(N, 64, 64)` int8, the fine detail of each, scaled to its own largest value.
    """

    names: list[str]
    sha256: list[str]
    details: NDArray[np.int8]

    def save(self, path: Path) -> None:
        """Writes an `.npz` file, atomically."""
        with replacing(path) as temporary, temporary.open("wb") as stream:
            # Names as UTF-8 bytes: one that is no Unicode cannot be kept as text.
            names = np.array([name.encode("utf-8", "surrogateescape") for name in self.names])
            np.savez_compressed(stream, names=names, sha256=np.array(self.sha256), details=self.details)


@dataclass(frozen=True)
class Duplicate:
    """This class names a test image that was trained on.

    Attributes:
        test, train: names below the folders of their image sets.
        exact: whether the files are the same byte by byte.
        similarity: 1 for an exact one, else at least `NEAR`.
    """

    test: str
    train: str
    exact: bool
    similarity: float


class FingerprintTaker:
    """This class takes the fingerprints of images one by one, so that none has to be opened for it alone.

    Args:
        root: the folder that names start at.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: list[str] = []
        self._sha256: list[str] = []
        # Longer than it must be, since it grows by doubling: small arrays one by one would lie between large
        # ones that come and go, and keep the room of these.
        self._details = np.empty((64, SIDE, SIDE), dtype=np.int8)

    def add(self, photo: Photo) -> None:
        """Takes the fingerprint of the next image. Raises ImageError if it cannot be read."""
        details = _details(photo.pixels)
        count = len(self._names)
        if count == len(self._details):
            longer = np.empty((2 * count, SIDE, SIDE), dtype=np.int8)
            longer[:count] = self._details
            self._details = longer
        self._details[count] = details
        self._sha256.append(photo.sha256)
        self._names.append(name_below(photo.path, self._root))

    def fingerprints(self) -> Fingerprints:
        """Returns the fingerprints of all images so far."""
        return Fingerprints(list(self._names), list(self._sha256), self._details[: len(self._names)])


def take_fingerprints(paths: Iterable[Path], root: Path, decoding: Decoding = STANDARD) -> Fingerprints:
    """Returns the fingerprints of image files, each of which is opened once; names start at `root`.

    Args:
        paths: of the files.
        root: the folder that names start at.
        decoding: what the numbers of the files mean.

    Raises:
        ImageError: an image cannot be read.
    """
    taker = FingerprintTaker(root)
    for path in paths:
        taker.add(Photo(path, decoding))
    return taker.fingerprints()


def load_fingerprints(path: Path) -> Fingerprints:
    """Reads what `Fingerprints.save` wrote.

    Raises:
        DataError: the file is missing or damaged; names it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [bytes(name).decode("utf-8", "surrogateescape") for name in file["names"]]
            sha256 = [str(digest) for digest in file["sha256"]]
            details = file["details"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read ({error}); delete it, then copies are looked for among the data's own "
            "training images"
        ) from error
    if details.shape != (len(names), SIDE, SIDE) or details.dtype != np.int8 or len(sha256) != len(names):
        raise DataError(f"{path} holds no fingerprints of images; delete it")
    return Fingerprints(names, sha256, details)


def find_duplicates(train: Fingerprints, test: Fingerprints) -> list[Duplicate]:
    """Returns the test images that are, or nearly are, training images; at most one finding for each."""
    known = dict(zip(reversed(train.sha256), reversed(train.names), strict=True))
    flat = _normed(train.details)
    mean = flat.mean(0)
    known_details = _directions(flat - mean)
    found = []
    for begin in range(0, len(test.names), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        similarity = _directions(_normed(test.details[part]) - mean) @ known_details.T
        nearest = similarity.argmax(1)
        for name, digest, i, row in zip(
            test.names[part], test.sha256[part], nearest, similarity, strict=True
        ):
            if digest in known:
                found.append(Duplicate(name, known[digest], True, 1.0))
            elif row[i] >= NEAR:
                found.append(Duplicate(name, train.names[i], False, round(float(row[i]), 4)))
    return found


def find_originals(images: Fingerprints) -> NDArray[np.int64]:
    """Returns for each image `(N,)` the index of the first that shows the same photograph; mostly its own.

    Files that are equal byte by byte are one photograph, and so are images as similar as `NEAR` says. What
    all photographs share is taken away first, each of them counted once, or twenty copies would be what is
    shared.
    """
    first = {digest: i for i, digest in reversed(list(enumerate(images.sha256)))}
    original = np.array([first[digest] for digest in images.sha256], dtype=np.int64)
    while True:
        distinct = np.unique(original)
        nearest = _first_alike(images.details, distinct)
        merged = distinct[nearest][np.searchsorted(distinct, original)]
        # A chain of copies ends at its first.
        while (following := merged[merged]).tolist() != merged.tolist():
            merged = following
        if (merged == original).all():
            return original
        original = merged


def _first_alike(details: NDArray[np.int8], distinct: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns for each of the distinct images the number among them of the first that is alike.

    Block by block: as floating-point numbers all fingerprints of 100,000 images would take 1.6 GB.
    """
    blocks = [distinct[begin : begin + _BLOCK] for begin in range(0, len(distinct), _BLOCK)]
    # One image shares everything with itself.
    total = np.zeros(SIDE * SIDE)
    if len(distinct) > 1:
        for block in blocks:
            total += _normed(details[block]).sum(0, dtype=np.float64)
    mean = (total / len(distinct)).astype(np.float32)
    nearest = np.arange(len(distinct))
    for number, block in enumerate(blocks):
        own = _normed(details[block])
        centred = _directions(own - mean)
        waiting = np.arange(len(block))
        # Only an image that comes first can be one's original.
        for earlier, other in enumerate(blocks[: number + 1]):
            theirs = _normed(details[other]) if earlier < number else own
            alike = centred[waiting] @ _directions(theirs - mean).T >= NEAR
            alike |= own[waiting] @ theirs.T >= SAME_FRAME
            if earlier == number:
                # An image is like itself but for one without any detail.
                alike[np.arange(len(waiting)), waiting] = True
            found = alike.any(1)
            nearest[number * _BLOCK + waiting[found]] = earlier * _BLOCK + alike[found].argmax(1)
            waiting = waiting[~found]
    return nearest


def _details(image: NDArray[np.float32]) -> NDArray[np.int8]:
    """Returns what a small grey version of an image has beyond the mean of each pixel's neighbours."""
    # As Pillow turns colour to grey, so that a copy saved in grey is one too.
    grey = image[..., 0] if image.shape[2] == 1 else image @ _LUMA
    small = np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    padded = np.pad(small, 1, mode="reflect")
    around = sum(padded[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3)) / 9
    fine = small - around
    largest = float(np.abs(fine).max())
    # A blank image has no detail, only rounding.
    return np.rint(fine * (127 / largest if largest > 1e-4 else 0.0)).astype(np.int8)


def _normed(details: NDArray[np.int8]) -> NDArray[np.float32]:
    """Returns fingerprints `(N, 64 * 64)` of mean 0 and length 1: neither light nor contrast counts."""
    flat = details.reshape(len(details), -1).astype(np.float32)
    return _directions(flat - flat.mean(1, keepdims=True))


def _directions(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Returns rows scaled to length 1; rows of nearly no length become zero, which is similar to nothing."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.where(lengths > 1e-3, rows / np.maximum(lengths, 1e-3), 0.0), dtype=np.float32)
