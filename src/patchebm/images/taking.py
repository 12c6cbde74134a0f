"""This module opens the images that a model learns from, each once, and keeps properties and fingerprints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchebm.errors import DataError
from patchebm.images.checking import readable_photos
from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.fingerprints import Fingerprints, FingerprintTaker, find_originals
from patchebm.images.folders import ImageFile
from patchebm.images.photo import Photo
from patchebm.images.profile import Profile, Traits
from patchebm.images.region import Region
from patchebm.processes import Processes
from patchebm.provenance import combined_hash, file_hash, name_below

MIN_IMAGES = 6
"""As many different photographs are needed to calibrate, and to train what cannot do with fewer."""


@dataclass(frozen=True)
class Copies:
    """This class holds which images show the same photographs as others.

    Attributes:
        names: of all images, below the folder of their set.
        originals: the index of the first image that shows the same photograph, for each.
    """

    names: Sequence[str]
    originals: Sequence[int]

    @property
    def distinct(self) -> list[int]:
        """Returns the index of each photograph's first image."""
        return sorted(set(self.originals))

    @property
    def copies(self) -> dict[str, str]:
        """Returns the name of what each copy is a copy of."""
        return {
            name: self.names[original]
            for i, (name, original) in enumerate(zip(self.names, self.originals, strict=True))
            if original != i
        }

    def sentence(self) -> str:
        """Says how many copies there are, with an example; nothing if there are none."""
        copies = self.copies
        if not copies:
            return ""
        name, original = next(iter(copies.items()))
        be = "is a copy" if len(copies) == 1 else "are copies"
        return (
            f"{len(copies)} of {len(self.names)} images {be} of others, or nearly (such as {name} of "
            f"{original}); each photograph counts once, which leaves {len(self.distinct)}"
        )

    def require(self, what: str, least: int = MIN_IMAGES) -> None:
        """Raises DataError if the different photographs are too few to do `what`; says how many there are."""
        if len(self.distinct) >= least:
            return
        count = len(self.names)
        known = f"{count} good images are" if count != 1 else "1 good image is"
        if self.copies:
            known = f"{count} images, of which all but {len(self.distinct)} are copies, are"
        wanted = "one" if least == 1 else f"{least} that are no copies"
        raise DataError(f"{known} too few to {what}; give at least {wanted}")


class TakenImages:
    """This class is an iterable of the photos of images, and knows them once it was gone through.

    Args:
        images: of good parts.
        root: the folder that names start at.
        decoding: says what the numbers of files mean, as far as that is known.
        region: of interest; it must have been drawn on such images.
        processes: open the images, some ahead; None has this process open them.

    Attributes:
        good, bad: the images that could be read, and the others with the reason.
        traits: of the good images.
        transparent: how many of the good ones have pixels that are not fully opaque.
        seconds: between the first image and the last.
    """

    def __init__(
        self,
        images: Iterable[ImageFile],
        root: Path,
        decoding: Callable[[], Decoding] = lambda: STANDARD,
        region: Region | None = None,
        processes: Processes | None = None,
    ) -> None:
        self._images = images
        self._decoding = decoding
        self._region = region
        self._processes = processes
        self.transparent = 0
        self._root = root
        self.good: list[ImageFile] = []
        self.bad: list[tuple[ImageFile, str]] = []
        self.seconds = 0.0
        self._taker = FingerprintTaker(root)
        self.traits: list[Traits] = []

    def __iter__(self) -> Iterator[Photo]:
        began = time.perf_counter()
        for image, photo, traits in self._opened():
            decoding = photo.decoding
            if self._region is not None:
                height, width, _ = photo.pixels.shape
                self._region.require_aspect(height, width, photo.path)
            self.good.append(image)
            self.transparent += photo.is_transparent
            self._taker.add(photo)
            yield photo
            # Only now, when it has been read as all are.
            if traits is None or photo.decoding != decoding:
                traits = Traits.of(photo)
            self.traits.append(traits)
        self.seconds = time.perf_counter() - began

    def _opened(self) -> Iterator[tuple[ImageFile, Photo, Traits | None]]:
        """Yields the images that can be read, decoded, with their traits if they are known."""
        if self._processes is None:
            for one in self._images:
                # Asked for each: the first image of 16 bits has the white level found.
                for image, photo in readable_photos([one], self.bad, self._decoding()):
                    yield image, photo, None
            return
        calls = ((image, self._decoding()) for image in self._images)
        for image, found in self._processes.map(_open, calls):
            if isinstance(found, str):
                self.bad.append((image, found))
                continue
            photo, traits = found
            if photo.decoding != self._decoding():
                # It was opened ahead, before the white level was found.
                photo.decoding, traits = self._decoding(), None
            yield image, photo, traits
            photo.release()

    @property
    def fingerprints(self) -> Fingerprints:
        """The fingerprints of the good images."""
        return self._taker.fingerprints()

    @property
    def profile(self) -> Profile:
        """What the good images, of which there is one, have in common."""
        return Profile.of(self.traits)

    def transparency(self, decoding: Decoding) -> str:
        """Says what becomes of transparent images, and nothing if there are none."""
        if not self.transparent:
            return ""
        filled = (
            "they keep the colours that the files have there"
            if decoding.background is None
            else f"the background #{bytes(decoding.background).hex()} shines through"
        )
        return f"{self.transparent} of {len(self.good)} images are transparent in places: {filled}"

    def find_copies(self) -> Copies:
        """Returns which of the good images are copies of others."""
        fingerprints = self.fingerprints
        return Copies(fingerprints.names, find_originals(fingerprints).tolist())

    def sha256(self, others: Sequence[Path] = ()) -> str:
        """Returns the hash over the good images and other files."""
        fingerprints = self.fingerprints
        own = zip(fingerprints.names, fingerprints.sha256, strict=True)
        more = [(name_below(path, self._root), file_hash(path)) for path in others]
        return combined_hash([*own, *more])


def _open(image: ImageFile, decoding: Decoding) -> tuple[ImageFile, tuple[Photo, Traits | None] | str]:
    """Opens an image in another process; a sentence stands for one that cannot be read."""
    bad: list[tuple[ImageFile, str]] = []
    for _, photo in readable_photos([image], bad, decoding):
        # The photo gets to know its hash.
        _ = photo.sha256
        return image, (photo, Traits.of(photo))
    return image, bad[0][1]
