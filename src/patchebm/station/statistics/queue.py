"""This module orders parts that wait for a review: those first from which most is learned."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from patchebm.station.statistics.reviews import permanent_number

# Parts are near the threshold if they are up to so many times as rare, or as common, as it allows.
NEAR = 3.0
# Levels disagree if one is beyond the threshold while another finds the part as ordinary as half of all good
# ones.
ORDINARY = 0.0

THRESHOLD, LEVELS, RANDOM, ALARM = "queue:threshold", "queue:levels", "queue:random", "queue:alarm"


@dataclass(frozen=True)
class Waiting:
    """This class is a part without a review.

    Attributes:
        id: of the inspection; its last bits decide whether it is in the random sample.
        anomalous: whether it was NG.
        tail_probability: of its score.
        false_alarm_rate: that its threshold stands for.
        threshold: the threshold.
        levels: score of each level.
    """

    id: uuid.UUID
    anomalous: bool
    tail_probability: float
    false_alarm_rate: float
    threshold: float
    levels: Mapping[str, float]


@dataclass(frozen=True)
class Picked:
    """This class is a part with the reason why it is shown.

    Attributes:
        id: of the inspection.
        reason: `queue:threshold`, `queue:levels`, `queue:random` or `queue:alarm`.
        probability: with which it was picked; None unless it is in the random sample.
    """

    id: uuid.UUID
    reason: str
    probability: float | None


def ordered(parts: Sequence[Waiting], random_share: float, limit: int) -> list[Picked]:
    """Returns the parts that a person should review first, each once.

    Four lists are dealt out in turn: near the threshold (nearest first), levels that disagree (most first),
    the random sample of parts that were OK (oldest first, so that none is left out for ever), other alarms
    (newest first). A part of the random sample is marked as such whichever list it came by: it counts as
    picked by chance, and it was.

    Args:
        parts: that wait, in any order.
        random_share: share of parts that were OK in the random sample, in [0, 1].
        limit: parts that are returned, at most.
    """
    by_id = {part.id: part for part in parts}
    lists: dict[str, list[uuid.UUID]] = {
        THRESHOLD: [p.id for p in sorted(parts, key=distance) if distance(p) <= math.log(NEAR)],
        RANDOM: sorted(p.id for p in parts if in_sample(p.id, p.anomalous, random_share)),
        LEVELS: [p.id for p in sorted(parts, key=lambda p: -disagreement(p)) if disagreement(p) > 0],
        ALARM: sorted((p.id for p in parts if p.anomalous), reverse=True),
    }
    picked: dict[uuid.UUID, Picked] = {}
    for part_id, reason in _dealt(lists):
        if len(picked) >= limit:
            break
        if part_id not in picked:
            chance = in_sample(part_id, by_id[part_id].anomalous, random_share)
            picked[part_id] = Picked(part_id, RANDOM if chance else reason, random_share if chance else None)
    return list(picked.values())


def in_sample(part_id: uuid.UUID, anomalous: bool, random_share: float) -> bool:
    """Says whether a part is in the random sample of those that were OK."""
    return not anomalous and permanent_number(part_id) < random_share


def distance(part: Waiting) -> float:
    """Returns how far a part is from the threshold: the logarithm of how much rarer or more common."""
    return abs(math.log(part.tail_probability / part.false_alarm_rate))


def disagreement(part: Waiting) -> float:
    """Returns how far levels are apart if one is beyond the threshold while another is not concerned."""
    if len(part.levels) < 2:
        return 0.0
    low, high = min(part.levels.values()), max(part.levels.values())
    return high - low if high > part.threshold and low <= ORDINARY else 0.0


def _dealt(lists: Mapping[str, Sequence[uuid.UUID]]) -> Iterator[tuple[uuid.UUID, str]]:
    longest = max((len(ids) for ids in lists.values()), default=0)
    for i in range(longest):
        for reason, ids in lists.items():
            if i < len(ids):
                yield ids[i], reason
