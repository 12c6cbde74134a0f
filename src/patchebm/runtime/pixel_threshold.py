"""This module holds the threshold that makes a mask of an anomaly map, learned from good parts alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError

LOWEST_RATE, HIGHEST_RATE = 1e-5, 0.1
"""The shares of the pixels of good parts that may be asked for: thirty maps of 256 x 256 show them."""

# Eight rates a decade, ascending, for which the threshold is kept; between them it is interpolated.
_RATES = tuple(float(rate) for rate in np.geomspace(LOWEST_RATE, HIGHEST_RATE, 33))

# What is marked is at least this much hotter than the median pixel of good parts: where these are all alike,
# another runtime's rounding would be marked otherwise.
MARGIN = 0.25


@dataclass(frozen=True)
class PixelThreshold:
    """This class holds which pixels of an anomaly map are marked: those hotter than `value`.

    The rate is one of pixels, over all held-out good images together, and not one of images: some thirty maps
    show a share of pixels well, and that of images that have a hot pixel badly: the threshold for 5 % of
    thirty images would be the hottest pixel of the oddest one or two. `images_marked` says what the rate
    means for images.

    Attributes:
        false_pixel_rate: the share of the pixels of good parts that may be marked.
        values: the threshold for each of 33 rates from `LOWEST_RATE` to `HIGHEST_RATE`, evenly in their
            logarithm.
        peaks: the hottest pixel of each good image that this stands on.
    """

    false_pixel_rate: float
    values: tuple[float, ...]
    peaks: tuple[float, ...]

    @classmethod
    def learned(cls, heat: NDArray[np.float32], false_pixel_rate: float) -> PixelThreshold:
        """Returns the threshold that the maps of good images give which no energy was fitted on.

        Args:
            heat: `(M, P)` the pixels of M maps; those within the region of interest where there is one.
            false_pixel_rate: the share of them that may be marked.

        Raises:
            ConfigError: a rate outside `LOWEST_RATE` to `HIGHEST_RATE`.
        """
        flat = np.sort(heat, axis=None)
        # So many pixels may lie above: at most the rate's share of all.
        above = np.floor(np.array(_RATES) * flat.size * (1 + 1e-12)).astype(np.intp)
        values = np.maximum(flat[flat.size - 1 - above], np.median(flat) + MARGIN)
        peaks = heat.max(axis=1)
        learned = cls(HIGHEST_RATE, tuple(map(float, values)), tuple(map(float, peaks)))
        return learned.at(false_pixel_rate)

    def at(self, rate: float) -> PixelThreshold:
        """Returns the threshold for another rate.

        Raises:
            ConfigError: a rate outside `LOWEST_RATE` to `HIGHEST_RATE`.
        """
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise ConfigError(
                f"false_pixel_rate {rate} is not between {LOWEST_RATE:g} and {HIGHEST_RATE:g}; use for "
                "instance 0.001"
            )
        return replace(self, false_pixel_rate=rate)

    @property
    def value(self) -> float:
        """Returns the heat above which a pixel is marked."""
        return float(np.interp(math.log(self.false_pixel_rate), np.log(_RATES), self.values))

    @property
    def images_marked(self) -> int:
        """Returns how many of the good images that this stands on have a marked pixel."""
        return sum(peak > self.value for peak in self.peaks)

    def describe(self) -> str:
        """Says what the mask means on good parts."""
        if len(self.peaks) == 1:
            return (
                f"what is marked is a guess from a single good image, meant for {self.false_pixel_rate:g} of "
                "the pixels of good parts"
            )
        return (
            f"at most {self.false_pixel_rate:g} of the pixels of good parts are marked; of "
            f"{len(self.peaks)} held-out good images {self.images_marked} have a marked region"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` takes, as JSON can hold it."""
        return {
            "false_pixel_rate": self.false_pixel_rate,
            "values": list(self.values),
            "peaks": list(self.peaks),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> PixelThreshold:
        """Returns the threshold that `to_dict` wrote.

        Raises:
            KeyError: a fact is missing.
            TypeError: a fact is of another kind.
            ValueError: there are too few values or none that ascend with the rarity, or one is not finite.
            ConfigError: the rate is out of bounds.
        """
        values, peaks = tuple(map(float, facts["values"])), tuple(map(float, facts["peaks"]))
        if len(values) != len(_RATES) or not np.isfinite([*values, *peaks]).all():
            raise ValueError(f"pixels must hold {len(_RATES)} finite values")
        if np.any(np.diff(values) > 0):
            raise ValueError("the values of pixels must not rise with the rate")
        return cls(HIGHEST_RATE, values, peaks).at(float(facts["false_pixel_rate"]))
