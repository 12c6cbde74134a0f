"""This module holds the threshold of the verdict."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    value: float
    false_alarm_rate: float
    extrapolated: bool
    normals: int
    parts: int

    @property
    def supported_rate(self) -> float:
        """Returns the smallest false-alarm rate that so many parts can show without extrapolation."""
        return 1 / (self.parts + 1)

    def describe(self) -> str:
        """Says what the threshold stands on."""
        shown = f"{self.normals} held-out good images"
        if self.parts != self.normals:
            shown += f" of {self.parts} parts"
        if not self.extrapolated:
            return f"false-alarm rate {self.false_alarm_rate:g}, observed on {shown}"
        return (
            f"false-alarm rate {self.false_alarm_rate:g}, extrapolated by a fitted tail: {shown} can show "
            f"{self.supported_rate:.2g} at best"
        )
