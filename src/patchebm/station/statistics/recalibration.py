"""This module calibrates from confirmed-good parts, and says what other thresholds would have said."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError
from patchebm.runtime.calibration import Calibration
from patchebm.runtime.tail import Tail, part_shares

# Parts from which on a calibration is worth its name.
MIN_PARTS = 20


@dataclass(frozen=True)
class Preview:
    """This class is what the last parts would have been called under another threshold.

    Attributes:
        parts: how many were looked at.
        ng_before, ng_after: how many were NG, and would have been.
        to_ng, to_ok: how many verdicts change, either way.
        good_to_ng: of `to_ng`, confirmed good: new false alarms.
        defective_to_ok: of `to_ok`, confirmed defective: new misses.
    """

    parts: int
    ng_before: int
    ng_after: int
    to_ng: int
    to_ok: int
    good_to_ng: int
    defective_to_ok: int


def preview(
    scores: Sequence[float], before: Sequence[bool], reviews: Sequence[str | None], threshold: float
) -> Preview:
    """Returns what a threshold would have said of parts that were inspected with another.

    Args:
        scores: `(N,)` of one model.
        before: `(N,)` whether each was NG.
        reviews: `(N,)` good, defective, unsure or None.
        threshold: scores above it are NG.
    """
    was = np.asarray(before, dtype=bool)
    now = np.asarray(scores, dtype=np.float64) > threshold
    good, bad = (
        np.array([review == word for review in reviews], dtype=bool) for word in ("good", "defective")
    )
    return Preview(
        parts=len(was),
        ng_before=int(was.sum()),
        ng_after=int(now.sum()),
        to_ng=int((now & ~was).sum()),
        to_ok=int((was & ~now).sum()),
        good_to_ng=int((now & ~was & good).sum()),
        defective_to_ok=int((was & ~now & bad).sum()),
    )


def from_confirmed(
    before: Calibration,
    scores: NDArray[np.float64],
    groups: Sequence[Hashable | None],
    represents: NDArray[np.float64],
    rate: float,
) -> Calibration:
    """Returns the calibration that confirmed-good parts of a line give.

    Parts that were NG are reviewed far more often than those that were OK. If all confirmed-good parts
    counted the same, there would be too many odd ones among them, and the threshold would be too high. So
    each counts for as many parts as it represents; the sum of all is the number of equally weighted parts
    that would say as much (Kish 1965), so that the threshold is as cautious as the sample is small.

    Args:
        before: the calibration in force; heat stays as it is there.
        scores: `(N,)` of confirmed-good images.
        groups: `(N,)` the part that each shows; None for a part of its own.
        represents: `(N,)` good images of the line that each stands for; above 0.
        rate: false-alarm rate.

    Raises:
        ConfigError: they are worth fewer than 20 parts, or the rate is not in (0, 1).
    """
    shares = part_shares(groups)
    weights = np.asarray(represents, dtype=np.float64) * shares
    total = float(weights.sum())
    worth = int(total**2 / float((weights**2 / shares).sum()) + 1e-9) if total > 0 else 0
    if worth < MIN_PARTS:
        raise ConfigError(
            f"the {len(scores)} confirmed-good images are worth {worth} parts of a random sample, and "
            f"{MIN_PARTS} are needed; review more parts of the review queue's random sample"
        )
    tail = Tail(np.asarray(scores, dtype=np.float64), weights * (worth / total))
    return replace(before, tail=tail, threshold=tail.threshold(rate))


def represented(anomalous: Sequence[bool], totals: tuple[int, int]) -> NDArray[np.float64]:
    """Returns how many images each reviewed image stands for: those with its verdict, shared among the
    reviewed.

    Args:
        anomalous: `(N,)` whether each reviewed image was NG. Those that were OK must be picked by chance.
        totals: images of the period that were OK, and that were NG.
    """
    ng = np.asarray(anomalous, dtype=bool)
    reviewed = (int((~ng).sum()), int(ng.sum()))
    shares = [total / max(count, 1) for total, count in zip(totals, reviewed, strict=True)]
    return np.where(ng, shares[1], shares[0])
