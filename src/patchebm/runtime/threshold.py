"""This module holds the threshold of the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass


def parts_needed(false_alarm_rate: float) -> int:
    """Returns how many good parts can show a false-alarm rate, in (0, 1), without extrapolation."""
    return max(2, math.ceil(1 / false_alarm_rate - 1 - 1e-9))


def rate_shown_by(parts: int) -> float:
    """Returns the smallest false-alarm rate that so many good parts can show without extrapolation."""
    return 1 / (parts + 1)


@dataclass(frozen=True)
class Threshold:
    """This class holds a threshold: a score above `value` is called anomalous (`Tail.threshold` finds it).

    Attributes:
        value: the threshold.
        false_alarm_rate: share of good parts that may lie above it.
        extrapolated: whether the normals were too few to observe that rate, so that the value rests on a
            tail fitted to their scores.
        normals: how many normal images it stands on.
        parts: how many physical parts these show.
        guess: whether it is guessed from a single good image, by what good images of other products score.
    """

    value: float
    false_alarm_rate: float
    extrapolated: bool
    normals: int
    parts: int
    guess: bool = False

    @property
    def supported_rate(self) -> float:
        """Returns the smallest false-alarm rate that so many parts can show without extrapolation."""
        return rate_shown_by(self.parts)

    @property
    def shown_rate(self) -> float:
        """Returns the same in whole per cent, rounded up: a rate that one would ask for."""
        return math.ceil(100 * self.supported_rate - 1e-9) / 100

    def describe(self) -> str:
        """Says what the threshold stands on."""
        if self.guess:
            return (
                f"false-alarm rate {self.false_alarm_rate:g} is a guess: a single good image does not show "
                "how good parts differ, so that the threshold lies as far above it as on other products"
            )
        shown = f"{self.normals} held-out good images"
        if self.parts != self.normals:
            shown += f" of {self.parts} parts"
        if not self.extrapolated:
            return f"false-alarm rate {self.false_alarm_rate:g}, observed on {shown}"
        return (
            f"false-alarm rate {self.false_alarm_rate:g}, extrapolated by a fitted tail: {shown} can show "
            f"{self.supported_rate:.2g} at best"
        )
