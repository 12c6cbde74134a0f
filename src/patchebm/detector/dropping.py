"""Fits again without the images that stand apart: defects among the images of good parts, if these are few.

Energies that were fitted on defects hold similar ones for good, so that one look does not find all: what is
left is fitted and looked at again until nothing stands apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from patchebm.detector.detector import EnsembleDetector
from patchebm.detector.training_set import Reading
from patchebm.errors import DataError

Drop = int | Literal["auto"]
"""So many of the oddest images, or those that stand apart."""

MAX_ROUNDS = 6
MAX_DROPPED = 0.25
"""At most this share of the images is left out by `auto`: more are no exceptions."""

MIN_LEFT = 6


@dataclass(frozen=True)
class Dropped:
    """An image that was fitted on once and then left out.

    Attributes:
        index: among the images that were read.
        round: in which it was found, from 1.
        score: its held-out score in that round.
    """

    index: int
    round: int
    score: float


@dataclass(frozen=True)
class Dropping:
    """What was left out.

    Attributes:
        kept: indices of the images that the last fit used.
        left_out: the others.
        more: whether further images stand apart that were not left out, since they would be too many.
    """

    kept: list[int]
    left_out: list[Dropped]
    more: bool

    @property
    def rounds(self) -> int:
        """How many fits there were."""
        return max((one.round for one in self.left_out), default=0) + 1


def fit_dropping(
    detector: EnsembleDetector,
    reading: Reading,
    groups: Sequence[str | None],
    drop: Drop | None,
    folder: Callable[[int], Path | None],
) -> Dropping:
    """Fit, leave the oddest images out, and fit again.

    Args:
        detector: is fitted at the end to what is left.
        reading: what was kept of the images.
        groups: the physical part that each shows, if known.
        drop: how many are left out; with `auto`, those that stand apart, in rounds; None for none.
        folder: gives the folder of checkpoints and logs of a round, which are counted from 0.

    Raises:
        DataError: too few images would be left.
        TrainingError: as `EnsembleDetector.fit_reading`.
    """
    kept = list(range(reading.images))
    if isinstance(drop, int) and not 0 < drop <= len(kept) - MIN_LEFT:
        raise DataError(
            f"--drop-outliers {drop} would leave {len(kept) - drop} of {len(kept)} images; give a number "
            f"that leaves at least {MIN_LEFT}, or auto"
        )
    left_out: list[Dropped] = []
    most = drop if isinstance(drop, int) else int(MAX_DROPPED * len(kept))
    for number in range(MAX_ROUNDS + 1):
        part = reading.subset(kept, detector.build_levels(reading.inputs))
        detector.fit_reading(part, [groups[i] for i in kept], folder(number))
        held_out = detector.held_out_
        chosen: list[int] = []
        if drop == "auto":
            chosen = list(held_out.outliers().indices)
        elif drop is not None and number == 0:
            chosen = held_out.oddest(drop)
        if not chosen or len(left_out) + len(chosen) > most or number == MAX_ROUNDS:
            return Dropping(kept, left_out, bool(chosen))
        scores = dict(zip(held_out.indices.tolist(), held_out.scores.tolist(), strict=True))
        left_out += [Dropped(kept[i], number + 1, scores[i]) for i in chosen]
        gone = {kept[i] for i in chosen}
        kept = [i for i in kept if i not in gone]
        # Said before hours of another fit.
        detector.assign_folds(len(kept), [groups[i] for i in kept])
    raise AssertionError("the last round returns")
