"""This module bets against p-values being uniform; what it has won is the evidence that they are not."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Two ways to bet on a p-value p: a stake e turns into e * (1 + slope * (p - 1/2)), which is fair if p is
# uniform. The first wins on small p-values (parts look odder than before), the second on large ones.
SLOPES = (-1.0, 1.0)
# Share of the capital that changes sides after each part, so that a side that was right for long can be
# wrong.
JUMP = 0.01
# Half of the capital bets from the start on, for changes that come soon. The other half starts to bet little
# by little, 1 / (1 + ln(1 + parts / 100)) of it is still held back after so many parts: a change that comes
# after a million parts finds fresh capital, which costs a delay that grows with the logarithm of the parts
# alone.
HELD_BACK, SLOWNESS = 0.5, 100


class JumperMartingale:
    """This class is a test martingale: capital that starts at 1 and in fair bets reaches C with probability 1
    / C.

    It is the simple jumper of Vovk et al. (2021, "Retrain or not retrain: conformal test martingales for
    change-point detection", COPA, algorithm 1) with two slopes, and with capital held back for late changes:
    a mixture over the time at which betting begins, which is a martingale, too. Ville's inequality: for
    uniform and independent p-values, the probability that the capital *ever* reaches 1 / alpha is at most
    alpha.

    Args:
        log_stakes: natural logarithms of the capital that bets on each of `SLOPES`; None at the start.
        parts: p-values seen so far.
    """

    def __init__(self, log_stakes: Sequence[float] | None = None, parts: int = 0) -> None:
        share = math.log((1 - HELD_BACK) / len(SLOPES))
        self.log_stakes = [share] * len(SLOPES) if log_stakes is None else [float(s) for s in log_stakes]
        self.parts = parts
        if len(self.log_stakes) != len(SLOPES) or not all(map(math.isfinite, self.log_stakes)) or parts < 0:
            raise ValueError(f"stakes {log_stakes} after {parts} parts are none of this martingale")

    @property
    def log_capital(self) -> float:
        """Returns the natural logarithm of the capital."""
        return _log_sum([*self.log_stakes, math.log(_held_back(self.parts))])

    def update(self, p_value: float) -> float:
        """Bets on the next p-value, in [0, 1], and returns the natural logarithm of the capital after it."""
        fresh = (_held_back(self.parts) - _held_back(self.parts + 1)) / len(SLOPES)
        moved = math.log(JUMP / len(SLOPES)) + _log_sum(self.log_stakes)
        stay = math.log1p(-JUMP)
        self.log_stakes = [
            _log_sum([stay + stake, moved, math.log(fresh)]) + math.log1p(slope * (p_value - 0.5))
            for slope, stake in zip(SLOPES, self.log_stakes, strict=True)
        ]
        self.parts += 1
        return self.log_capital


def _held_back(parts: int) -> float:
    return HELD_BACK / (1 + math.log1p(parts / SLOWNESS))


def _log_sum(logarithms: Sequence[float]) -> float:
    largest = max(logarithms)
    return largest + math.log(sum(math.exp(value - largest) for value in logarithms))
