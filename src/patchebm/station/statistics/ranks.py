"""This module ranks each figure among those before it, in memory that does not grow with their number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from patchebm.errors import ConfigError

# What lies beyond the last bin is as odd as that bin.
LAST_BIN = 2500


class RankCounts:
    """This class turns figures into conformal p-values: the rank of each among itself and all before it.

    If figures come in random order (exchangeable), the p-values are independent and uniform in (0, 1),
    exactly and from the first one on (Vovk, Gammerman and Shafer 2005, theorem 8.2). Figures are counted in
    bins of width 1, from -2,500 to 2,500; those in one bin are ties, which chance breaks. Bins are fixed
    beforehand, so that the statement stays exact.

    Args:
        figures: finite figures that count as seen before the first, for instance those of calibration parts.

    Raises:
        ConfigError: a figure is not finite.
    """

    def __init__(self, figures: Iterable[float] = ()) -> None:
        self._counts = np.zeros(2 * LAST_BIN + 1, dtype=np.int64)
        self._seen = 0
        for figure in figures:
            self._counts[_bin(figure)] += 1
            self._seen += 1

    def p_value(self, figure: float, chance: float) -> float:
        """Returns the p-value of the next figure, small where few were as high, and counts it.

        Args:
            figure: finite.
            chance: uniform in (0, 1); breaks ties.

        Raises:
            ConfigError: the figure is not finite.
        """
        here = _bin(figure)
        above = int(self._counts[here + 1 :].sum())
        self._counts[here] += 1
        self._seen += 1
        return float((above + chance * self._counts[here]) / self._seen)

    def to_list(self) -> list[list[int]]:
        """Returns `[bin, count]` of all bins that are not empty, as JSON can hold it."""
        where = np.flatnonzero(self._counts)
        pairs: list[list[int]] = np.column_stack([where - LAST_BIN, self._counts[where]]).tolist()
        return pairs

    @classmethod
    def from_list(cls, pairs: Sequence[Sequence[int]]) -> RankCounts:
        """Returns what `to_list` wrote. Raises ValueError for what it did not write."""
        where, counts = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        if (abs(where) > LAST_BIN).any() or (counts < 0).any():
            raise ValueError(f"bins beyond {LAST_BIN}, or counts below 0")
        ranks = cls()
        ranks._counts[where + LAST_BIN] = counts
        ranks._seen = int(counts.sum())
        return ranks


def _bin(figure: float) -> int:
    if not math.isfinite(figure):
        raise ConfigError(f"a figure of {figure} has no rank; figures must be finite")
    return LAST_BIN + round(max(-LAST_BIN, min(LAST_BIN, figure)))
