"""This module estimates from reviews how often good parts are called NG, and how often defective ones OK.

Two groups of parts are known by different samples. Parts that were NG are reviewed because they were; those
that were OK only tell something about all that were OK if chance picked them. So chance picks: a part belongs
to the random sample if `permanent_number` of its id is below the share that is asked for, which was decided
before anyone saw the part, and does not depend on it (permanent random numbers, Ohlsson 1995).
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from patchebm.station.statistics.intervals import Share, binomial_interval, weighted_share

# Of an id's 62 last bits, all random.
_LAST_BITS = (1 << 62) - 1


@dataclass(frozen=True)
class Cell:
    """This class counts the parts of one product, model and week.

    Attributes:
        ng, ok: parts that were NG, and OK.
        ng_good, ng_defective: of those that were NG, how many a person called so.
        sample: for each reviewed part of the random sample of those that were OK, whether it was defective
            and the probability with which it was picked; those that a person was unsure of are left out.
    """

    ng: int
    ok: int
    ng_good: int
    ng_defective: int
    sample: tuple[tuple[bool, float], ...]


@dataclass(frozen=True)
class Rates:
    """This class is what reviews say; None where they say nothing yet.

    Attributes:
        false_alarms: share of good parts that were called NG.
        misses: share of parts that were called OK and are defective.
        missed_parts: estimated number of such parts.
    """

    false_alarms: Share | None
    misses: Share | None
    missed_parts: float | None


def permanent_number(part_id: uuid.UUID) -> float:
    """Returns a number in [0, 1) that belongs to a part for ever: uniform, and independent of all else."""
    return float(part_id.int & _LAST_BITS) / (_LAST_BITS + 1)


def rates(cells: Iterable[Cell]) -> Rates:
    """Returns the rates of several cells together; a cell without a sample weighs nothing in the misses.

    Each cell's sample stands for that cell's parts, so that a week with many reviews does not drown the
    others (stratification).
    """
    known = list(cells)
    misses = _misses(known)
    ok = sum(cell.ok for cell in known)
    missed = misses.value * ok if misses is not None else None
    return Rates(_false_alarms(known, missed or 0.0), misses, missed)


def _misses(cells: Sequence[Cell]) -> Share | None:
    events: list[bool] = []
    weights: list[float] = []
    for cell in cells:
        inverse = [1 / probability for _, probability in cell.sample]
        # Sums of weights vary by chance around the number of parts, which is known.
        factor = cell.ok / math.fsum(inverse) if inverse else 0.0
        if factor > 0:
            events += [defective for defective, _ in cell.sample]
            weights += [factor * weight for weight in inverse]
    return weighted_share(events, weights)


def _false_alarms(cells: Sequence[Cell], missed: float) -> Share | None:
    """Returns the share of NG among good parts.

    Parts that were NG and reviewed stand for all that were NG in their cell. The interval is Clopper and
    Pearson's for a sample as good as this one, whose variance has two parts: chance made the good parts NG or
    OK, and of those that were NG only some were reviewed.
    """
    good_ng, variance, reviewed = 0.0, 0.0, 0
    for cell in cells:
        n = cell.ng_good + cell.ng_defective
        if not n:
            continue
        share = cell.ng_good / n
        good_ng += cell.ng * share
        variance += cell.ng**2 * share * (1 - share) / n * (1 - n / cell.ng)
        reviewed += n
    good = good_ng + sum(cell.ok for cell in cells) - missed
    if good <= 0 or (not reviewed and any(cell.ng for cell in cells)):
        return None
    value = good_ng / good
    by_chance = value * (1 - value) / good
    effective = good
    if by_chance > 0:
        effective = good * by_chance / (by_chance + variance / good**2)
    low, high = binomial_interval(value * effective, effective)
    return Share(value, low, high, reviewed)
