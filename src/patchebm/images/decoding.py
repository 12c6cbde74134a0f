"""This module says how the numbers of an image file become pixels: one value, which a model keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from patchebm.errors import ConfigError, ImageError
from patchebm.images.samples import DEEP_WHITE, Samples

BITS = range(8, 17)
"""The bit depths that 16-bit files may be said to hold."""

UNKNOWN_DEPTH = "deep"
"""The kind of misfit of a 16-bit image where nobody has said how many of its bits are used."""

# What ITU-R BT.601 counts of red, green and blue in the brightness of a colour, as Pillow does.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Decoding:
    """This class is the rule by which numbers of image files become pixels in [0, 1].

    A model is trained with one, keeps it, and reads everything by it afterwards.

    Attributes:
        white_level: what 16-bit numbers are divided by, 4095 for 12-bit data; what is brighter is white.
            None, which means 65535, where no image of 16 bits has told: training then looks at the set.
        page: which page of files that hold several is read, from 1 on; None refuses such files.
        background: red, green and blue, 0 to 255, that shine through where an image is transparent; None
            takes the colours that the file has there, whatever they are.
        range: the numbers that are black and white in files of floating-point or signed numbers; None takes
            floating-point numbers in [0, 1] as they are and refuses all others.
    """

    white_level: int | None = None
    page: int | None = None
    background: tuple[int, int, int] | None = (255, 255, 255)
    range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.white_level is not None and not 1 <= self.white_level <= DEEP_WHITE:
            raise ConfigError(f"the white level is {self.white_level}; give 1 to {DEEP_WHITE}")
        if self.page is not None and self.page < 1:
            raise ConfigError(f"page {self.page} is no page; the first is 1")
        if self.range is not None and not -np.inf < self.range[0] < self.range[1] < np.inf:
            raise ConfigError(
                f"the range {self.range[0]:g} to {self.range[1]:g} holds no numbers; give what is black, "
                "then what is white, which is larger"
            )

    @property
    def white(self) -> int:
        """Returns what 16-bit numbers are divided by."""
        return self.white_level or DEEP_WHITE

    def pixels(self, samples: Samples, name: str | Path) -> NDArray[np.float32]:
        """Returns the pixels `(H, W, 1 or 3)` float32 in [0, 1], C-contiguous, that samples stand for.

        Args:
            samples: of an image.
            name: what messages call it.

        Raises:
            ImageError: numbers that need a range and have none, or that are not finite.
        """
        if samples.white is None:
            low, high = self._ends(samples, name)
            # In 64 bits: heights in micrometres may differ in the last digits of 32 alone.
            pixels = ((samples.values.astype(np.float64) - low) / (high - low)).clip(0, 1).astype(np.float32)
            if samples.inverted:
                np.subtract(1, pixels, out=pixels)
        else:
            white = self.white if samples.is_deep else samples.white
            values = np.minimum(samples.values, white) if samples.is_deep else samples.values
            pixels = (white - values if samples.inverted else values).astype(np.float32)
            pixels /= np.float32(white)
        if samples.alpha is not None and self.background is not None:
            largest = np.iinfo(samples.alpha.dtype).max
            opaque = samples.alpha.astype(np.float32)[:, :, np.newaxis] / np.float32(largest)
            colour = np.array(self.background, dtype=np.float32) / 255
            if pixels.shape[2] == 1:
                colour = colour @ np.array(_LUMA, dtype=np.float32)
            pixels = opaque * pixels + (1 - opaque) * colour
        return pixels

    def _ends(self, samples: Samples, name: str | Path) -> tuple[float, float]:
        """Returns the numbers that are black and white in an image of which the file does not tell."""
        values = samples.values
        # One comparison is false for NaN, too.
        finite = bool(np.isfinite(values).all())
        if not finite:
            raise ImageError(f"{name} has numbers that are not finite; replace NaN and infinity in it")
        if self.range is not None:
            return self.range
        if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
            return 0, 1
        what = "floating-point numbers" if values.dtype.kind == "f" else f"{values.dtype} numbers"
        raise ImageError(
            f"{name} holds {what}, from {values.min():.6g} to {values.max():.6g}, of which nothing says what "
            "is black and what is white; train with --range LOW HIGH, or save 8 or 16 bits per channel"
        )

    def misfit(self, samples: Samples, name: str | Path) -> Misfit | None:
        """Returns what makes samples doubtful under this rule, if anything does."""
        if samples.white is None:
            return self._beyond_range(samples, name)
        if not samples.is_deep:
            if samples.white == 255 < self.white < DEEP_WHITE // 2:
                return Misfit(
                    "shallow",
                    f"{name} has 8 bits per channel, and others come in 16-bit files with white at "
                    f"{self.white}; let all come from a camera with the same settings",
                )
            return None
        brightest = samples.brightest
        if brightest > self.white:
            return Misfit(
                "bright",
                f"{name} has values up to {brightest}, above {self.white}, from where on all is read as "
                "white; if the camera gives more bits than before, set it back or train with --bits "
                f"{max(BITS.start, brightest.bit_length())}",
            )
        if self.white_level is None:
            return Misfit(
                UNKNOWN_DEPTH,
                f"{name} has 16 bits per channel, and no training image had: it is read with white at "
                f"{DEEP_WHITE}, and its brightest value is {brightest}; if that is not right, train on such "
                "images or with --bits",
            )
        if 16 * brightest <= self.white:
            return Misfit(
                "dark",
                f"{name} has no value above {brightest}, and is read as nearly black, with white at "
                f"{self.white}; if the camera gives fewer bits than before, set it back",
            )
        return None

    def _beyond_range(self, samples: Samples, name: str | Path) -> Misfit | None:
        if self.range is None:
            return None
        low, high = self.range
        darkest, brightest = float(samples.values.min()), float(samples.values.max())
        if low <= darkest and brightest <= high:
            return None
        return Misfit(
            "range",
            f"{name} has numbers from {darkest:.6g} to {brightest:.6g}, beyond the range of {low:g} to "
            f"{high:g}: what is below is read as black, what is above as white",
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the rule as JSON can hold it."""
        return {
            "white_level": self.white_level,
            "page": self.page,
            "background": None if self.background is None else list(self.background),
            "range": None if self.range is None else list(self.range),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any] | None) -> Decoding:
        """Returns the rule that `to_dict` wrote.

        Args:
            facts: None for that of models which keep none: white is 65535, and transparent pixels have the
                colours that the file has there.

        Raises:
            KeyError, TypeError, ValueError, ConfigError: facts that are no rule.
        """
        if facts is None:
            return cls(white_level=DEEP_WHITE, background=None)
        white, page, background, ends = (facts[key] for key in ("white_level", "page", "background", "range"))
        return cls(
            None if white is None else int(white),
            None if page is None else int(page),
            None if background is None else _triple(background),
            None if ends is None else _pair(ends),
        )


STANDARD = Decoding()
"""The rule by which files are read where no model says another one."""


@dataclass(frozen=True)
class Misfit:
    """This class says in which way an image does not fit the rule by which it is read.

    Attributes:
        kind: short, the same for all images that are doubtful in the same way.
        sentence: names the image, and what to do.
    """

    kind: str
    sentence: str


def colour_of(text: str) -> tuple[int, int, int] | None:
    """Returns the background that a name such as white, or a code such as #ff8000, stands for.

    Args:
        text: `keep` for the colours that the file has.

    Raises:
        ConfigError: no colour.
    """
    if text == "keep":
        return None
    try:
        return _triple(ImageColor.getrgb(text)[:3])
    except ValueError as error:
        raise ConfigError(
            f"background '{text:.40}' is no colour; give a name such as white, a code such as #ff8000, "
            "or keep"
        ) from error


def _triple(values: Any) -> tuple[int, int, int]:
    red, green, blue = map(int, values)
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError("a colour has three numbers from 0 to 255")
    return red, green, blue


def _pair(values: Any) -> tuple[float, float]:
    low, high = map(float, values)
    return low, high
