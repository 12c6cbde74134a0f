"""The divergence guard: back to the last good state, and it says so."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from patchebm.errors import TrainingError


class DivergenceGuard:
    """Keeps a copy of the last good state and brings it back when an energy runs away.

    A step is bad when its loss is not finite or the energies of data and chains lie further apart than
    `max_gap`: energies of networks that train well differ by less than a hundred, those that run away
    pass a thousand within a few dozen steps. A state becomes the good one only after `every` good steps
    in a row, so that the copy is not of the brink.

    Args:
        capture: returns the state to keep (anything deepcopy can copy).
        restore: puts such a state back.
        say: told one sentence whenever a roll-back happens.
        every: steps between copies.
        max_gap: largest credible difference between the mean energies of chains and data.
        max_rollbacks: after so many the guard gives up.
    """

    def __init__(
        self,
        capture: Callable[[], Any],
        restore: Callable[[Any], None],
        say: Callable[[str], None],
        *,
        every: int = 50,
        max_gap: float = 1e3,
        max_rollbacks: int = 5,
    ) -> None:
        self._capture = capture
        self._restore = restore
        self._say = say
        self._every = every
        self._max_gap = max_gap
        self._max_rollbacks = max_rollbacks
        self._good_steps = 0
        self._good_state: Any = None
        self.rollbacks = 0

    def start(self) -> None:
        """Take the first copy."""
        self._good_state = copy.deepcopy(self._capture())

    def check(self, step: int, loss: float, gap: float) -> bool:
        """Whether a step may go on; if not, the last good state is back in place.

        Raises:
            TrainingError: the energy diverged more than `max_rollbacks` times.
        """
        if math.isfinite(loss) and abs(gap) <= self._max_gap:
            self._good_steps += 1
            if self._good_steps >= self._every:
                self.start()
                self._good_steps = 0
            return True
        self.rollbacks += 1
        self._good_steps = 0
        if self.rollbacks > self._max_rollbacks:
            raise TrainingError(
                f"the energy diverged {self.rollbacks} times, last at step {step} (loss {loss:.3g}, "
                f"energy gap {gap:.3g}); lower training.lr or raise training.energy_penalty"
            )
        self._restore(copy.deepcopy(self._good_state))
        self._say(
            f"step {step}: loss {loss:.3g}, energy gap {gap:.3g}: went back to the last good state "
            f"and halved the learning rate (roll-back {self.rollbacks} of at most {self._max_rollbacks})"
        )
        return False
