"""This module remembers what kind of images a model was trained on, and says how others differ from them.

A model knows good parts as its camera, its light and its file format showed them. Good parts from another
camera, or saved as JPEG, may all be called anomalous, or defects may vanish in a blur, and no score says
why. What is compared here has nothing to do with defects: file kind, JPEG quality, size, aspect, colour,
brightness and sharpness.

When it speaks: of file kinds, JPEG quality and colour, as soon as an image has what no training image had.
Of numbers, if the means differ by more than what hardly matters (`FLOORS`) plus four standard errors of
their difference, so that of images like those of training less than one comparison in ten thousand speaks
by chance; brightness and sharpness, which defects may change, need eight images. `benchmarks/profile`
measures it.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.images.photo import Photo

FLOORS = {"size": 0.1, "aspect": 0.02, "brightness": 0.1, "light": 0.1, "sharpness": 0.1}
"""Differences of means, as natural logarithms, that are never spoken of: 10 % of size, 2 % of aspect, 10 % of
brightness, and less of sharpness than a Gaussian blur of 1.5 pixels takes."""

SPREADS = {"sharpness": 1.0}
"""The same in standard deviations of the training images, where that is more: defects have edges, too."""

STANDARD_ERRORS = 4.0
ALIKE = 2.0
"""So many images that come in count as one: those that follow each other, in a folder by defects as well as
on a line, are more alike than images drawn at random."""

MIN_IMAGES = {"size": 1, "aspect": 1, "brightness": 8, "light": 8, "sharpness": 8}
"""As many images must have come in before their mean is compared."""

QUALITY_MARGIN = 4
"""JPEG qualities this near to those of training count as the same."""

WHITE = 0.97
"""Images of training whose light is above this show white, which more light does not make any brighter."""

# Pixels that brightness and sharpness are taken from, about: a third of a million takes 3 ms.
_PIXELS = 300_000
# Below this mean difference between colour channels an image in colour shows grey alone.
_GREY = 1 / 255
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# The luminance table of JPEG (ITU-T T.81, table K.1), which libjpeg scales by the quality.
_K1 = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17,
     22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78,
     87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99]
)  # fmt: skip


@dataclass(frozen=True)
class Traits:
    """This class holds what is compared of one image.

    Attributes:
        kind: of the file, such as PNG.
        quality: of a JPEG, 1 to 100 as libjpeg counts it; None for other files.
        width, height: in pixels, of the upright image.
        grey: whether the image shows no colour.
        brightness: mean of the grey values, in [0, 1].
        light: the same of the brightest tenth, which dark defects do not darken.
        sharpness: logarithm of the mean second difference between neighbours over that between pixels three
            apart: near 0 for noise, the lower the more blurred, whatever light and contrast.
    """

    kind: str
    quality: int | None
    width: int
    height: int
    grey: bool
    brightness: float
    light: float
    sharpness: float

    @classmethod
    def of(cls, photo: Photo) -> Traits:
        """Returns the traits of an image. Raises ImageError if it cannot be read."""
        pixels = photo.pixels
        height, width, channels = pixels.shape
        step = max(1, math.ceil(height * width / _PIXELS))
        grey = pixels[..., 0] if channels == 1 else pixels @ _LUMA
        rows = pixels[::step]
        colour = 0.0 if channels == 1 else float((rows.max(2) - rows.min(2)).mean())
        kind, quality = _file_kind(photo)
        values = grey[::step].ravel()
        tenth = max(1, values.size // 10)
        return cls(
            kind=kind,
            quality=quality,
            width=width,
            height=height,
            grey=colour < _GREY,
            brightness=float(values.mean()),
            light=float(np.partition(values, -tenth)[-tenth:].mean()),
            sharpness=_sharpness(grey, step),
        )

    def numbers(self) -> dict[str, float]:
        """Returns what is compared as a number, each as a natural logarithm."""
        return {
            "size": math.log(self.width * self.height) / 2,
            "aspect": math.log(self.width / self.height),
            # A hundredth is added, so that a black image is dark and not infinitely so.
            "brightness": math.log(self.brightness + 0.01),
            "light": math.log(self.light + 0.01),
            "sharpness": self.sharpness,
        }


@dataclass(frozen=True)
class Profile:
    """This class holds what images have in common that a model was trained, or calibrated, on.

    Attributes:
        images: how many they were.
        kinds: the number of files of each kind.
        jpeg_quality: the lowest and the highest of JPEGs; None if there were none.
        grey: how many show no colour.
        width, height: medians, in pixels.
        mean, std: of `Traits.numbers`.
    """

    images: int
    kinds: dict[str, int]
    jpeg_quality: tuple[int, int] | None
    grey: int
    width: int
    height: int
    mean: dict[str, float]
    std: dict[str, float]

    @classmethod
    def of(cls, traits: Sequence[Traits]) -> Profile:
        """Returns the profile of images, at least one."""
        qualities = [one.quality for one in traits if one.quality is not None]
        table = {name: [one.numbers()[name] for one in traits] for name in FLOORS}
        return cls(
            images=len(traits),
            kinds=dict(Counter(one.kind for one in traits).most_common()),
            jpeg_quality=(min(qualities), max(qualities)) if qualities else None,
            grey=sum(one.grey for one in traits),
            width=round(float(np.median([one.width for one in traits]))),
            height=round(float(np.median([one.height for one in traits]))),
            mean={name: round(float(np.mean(values)), 5) for name, values in table.items()},
            std={name: round(float(np.std(values)), 5) for name, values in table.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` takes, as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Any) -> Profile | None:
        """Returns the profile that `to_dict` wrote; None for what holds none, as cards of old models."""
        if not isinstance(facts, Mapping):
            return None
        try:
            quality = facts["jpeg_quality"]
            return cls(
                images=int(facts["images"]),
                kinds={str(kind): int(count) for kind, count in facts["kinds"].items()},
                jpeg_quality=None if quality is None else (int(quality[0]), int(quality[1])),
                grey=int(facts["grey"]),
                width=int(facts["width"]),
                height=int(facts["height"]),
                mean={name: float(facts["mean"][name]) for name in FLOORS},
                std={name: float(facts["std"][name]) for name in FLOORS},
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return None

    def differences(self, traits: Sequence[Traits]) -> dict[str, tuple[str, str]]:
        """Returns in what other images, at least one, differ: by trait, what training had and what they have.

        The first of the two is empty where a comparison says it all, such as "20 % darker".
        """
        found: dict[str, tuple[str, str]] = {}
        other = Profile.of(traits)
        n = len(traits)
        strange = [one for one in traits if one.kind not in self.kinds]
        if strange:
            found["kind"] = (_kinds(self), _share(_kinds(Profile.of(strange)), len(strange), n))
        elif self.jpeg_quality is not None:
            low, high = (self.jpeg_quality[0] - QUALITY_MARGIN, self.jpeg_quality[1] + QUALITY_MARGIN)
            apart = [one for one in traits if one.quality is not None and not low <= one.quality <= high]
            if apart:
                found["quality"] = (_kinds(self), _share(_kinds(Profile.of(apart)), len(apart), n))
        if self.grey in (0, self.images):
            count = n - other.grey if self.grey else other.grey
            words = ("grey", "in colour") if self.grey else ("in colour", "grey")
            if count:
                found["colour"] = (words[0], _share(words[1], count, n))
        shifts = {name: other.mean[name] - self.mean[name] for name in FLOORS}
        shifted = {name for name in FLOORS if self._speaks(name, shifts[name], other)}
        if shifted & {"size", "aspect"}:
            found["size"] = (_pixels(self), _pixels(other))
        measure = "light" if self.mean["light"] < math.log(WHITE) else "brightness"
        if measure in shifted:
            percent = round(100 * abs(math.expm1(shifts[measure])))
            found["brightness"] = ("", f"{percent} % {'brighter' if shifts[measure] > 0 else 'darker'}")
        if "sharpness" in shifted:
            found["sharpness"] = ("", "sharper or noisier" if shifts["sharpness"] > 0 else "less sharp")
        return found

    def _speaks(self, name: str, shift: float, other: Profile) -> bool:
        """Says whether a difference of means is one to speak of."""
        if other.images < MIN_IMAGES[name]:
            return False
        error = max(self.std[name], other.std[name]) * math.sqrt(1 / self.images + ALIKE / other.images)
        floor = max(FLOORS[name], SPREADS.get(name, 0.0) * self.std[name])
        return abs(shift) > floor + STANDARD_ERRORS * error


def differing(profile: Profile | None, traits: Sequence[Traits]) -> list[str]:
    """Returns the sentence on how images differ from a profile, in a list; nothing where they do not."""
    found = profile.differences(traits) if profile is not None and traits else {}
    return [difference_sentence(found, len(traits))] if found else []


def difference_sentence(differences: Mapping[str, tuple[str, str]], images: int) -> str:
    """Returns one sentence on what `Profile.differences` found among so many images, at least one finding."""
    trained, here = in_words(differences)
    ours = "this image is" if images == 1 else f"these {images} images are"
    what = f"{ours} {here}"
    if trained:
        what = f"the model was trained on images that are {trained}; {what}"
    else:
        what = f"{what} than those that the model was trained on"
    return (
        f"{what}, so that good parts may be called anomalous and defects be missed: give it images like "
        "those, or train or calibrate on images like these"
    )


def in_words(differences: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Returns what training images are, or "" where a comparison says it all, and what the others are."""
    trained = [first for first, _ in differences.values() if first]
    return _listed(trained) if trained else "", _listed([second for _, second in differences.values()])


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _share(words: str, count: int, of: int) -> str:
    return words if count == of else f"{words} ({count} of them)"


def _pixels(profile: Profile) -> str:
    about = "" if profile.std["size"] < 1e-3 and profile.std["aspect"] < 1e-3 else "about "
    return f"{about}{profile.width} x {profile.height} pixels"


def _kinds(profile: Profile) -> str:
    """Names the kinds of files, JPEG with its quality."""
    names = []
    for kind in profile.kinds:
        if kind == "JPEG" and profile.jpeg_quality is not None:
            low, high = profile.jpeg_quality
            kind = f"JPEG at quality {low}" + (f" to {high}" if high > low else "")
        names.append(kind)
    return " or ".join(names)


def _file_kind(photo: Photo) -> tuple[str, int | None]:
    """Returns the kind of a file, and the quality of a JPEG, from its header."""
    try:
        with Image.open(io.BytesIO(photo.content)) as image:
            # An MPO is a JPEG with further images behind it.
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            tables = getattr(image, "quantization", None)
            return kind, jpeg_quality(tables[0]) if kind == "JPEG" and tables else None
    except Exception:
        # Whatever else can be read, such as .npy, is not Pillow's.
        return photo.path.suffix.lstrip(".").upper() or "unknown", None


def jpeg_quality(table: Sequence[int]) -> int:
    """Returns the quality, 1 to 100, at which libjpeg would scale its luminance table nearest to this one.

    Args:
        table: 64 numbers, in any order.
    """
    return int(np.argmin(np.abs(_table_sums() - sum(table)))) + 1


@cache
def _table_sums() -> NDArray[np.int64]:
    """Returns the sum of the luminance table at each quality from 1 to 100."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.asarray(np.clip((_K1 * scale + 50) // 100, 1, 255).sum(1))


def _sharpness(grey: NDArray[np.float32], step: int) -> float:
    """Returns the sharpness of a grey image, from every `step`-th row and column."""
    if min(grey.shape) < 7:
        return 0.0
    near = far = 0.0
    for lines in (grey[::step], grey.T[::step]):
        near += float(np.abs(lines[:, 2:] - 2 * lines[:, 1:-1] + lines[:, :-2]).mean())
        far += float(np.abs(lines[:, 6:] - 2 * lines[:, 3:-3] + lines[:, :-6]).mean())
    # A thousandth of a grey level keeps an image of one colour finite.
    return math.log((near + 1e-5) / (far + 1e-5))
