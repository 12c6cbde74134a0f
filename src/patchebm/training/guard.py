"""The divergence guard: it goes back to the last good state, and says so."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Protocol

from patchebm.errors import DivergedError


class Stateful(Protocol):
    """A part of a training run whose state can be kept and brought back, such as a module or an optimizer."""

    def state_dict(self) -> Any:
        """Returns the state: tensors and plain values, nested."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Takes a state back."""
        ...


class DivergenceGuard:
    """This class keeps a copy of the last good state and brings it back when an energy diverges.

    A step is bad if its loss is not finite or the energies of data and negatives lie further apart than
    `max_gap`: energies of networks that train well differ by less than a hundred, those that diverge pass a
    thousand within a few dozen steps. A state becomes the good one only after `every` good steps in a row, so
    that the copy is not of a state about to diverge.

    Args:
        parts: what is copied and brought back.
        every: steps between copies.
        max_gap: largest credible difference between the mean energies of negatives and data.
        max_rollbacks: the guard gives up after so many.
    """

    def __init__(
        self,
        parts: Mapping[str, Stateful],
        *,
        every: int = 50,
        max_gap: float = 1e3,
        max_rollbacks: int = 5,
    ) -> None:
        self._parts = parts
        self._every = every
        self._max_gap = max_gap
        self._max_rollbacks = max_rollbacks
        self._good_steps = 0
        self._good_state = self._copy()
        self.rollbacks = 0

    @property
    def learning_rate_factor(self) -> float:
        """Every roll-back halves the learning rate."""
        return 0.5**self.rollbacks

    def check(self, step: int, loss: float, gap: float) -> str | None:
        """Returns None if a step may go on; else brings the last good state back and returns what to tell.

        Args:
            step: number of the step.
            loss: loss of the step.
            gap: mean energy of negatives less that of data.

        Raises:
            DivergedError: the energy diverged more than `max_rollbacks` times.
        """
        if math.isfinite(loss) and abs(gap) <= self._max_gap:
            self._good_steps += 1
            if self._good_steps >= self._every:
                self._good_state = self._copy()
                self._good_steps = 0
            return None
        self.rollbacks += 1
        self._good_steps = 0
        if self.rollbacks > self._max_rollbacks:
            raise DivergedError(
                f"the energy diverged {self.rollbacks} times, last at step {step} (loss {loss:.3g}, "
                f"energy gap {gap:.3g}); lower training.lr or raise training.energy_penalty",
                rollbacks=self._max_rollbacks,
            )
        for name, part in self._parts.items():
            part.load_state_dict(copy.deepcopy(self._good_state[name]))
        return (
            f"step {step}: loss {loss:.3g}, energy gap {gap:.3g}: went back to the last good state "
            f"and halved the learning rate (roll-back {self.rollbacks} of at most {self._max_rollbacks})"
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint holds of the guard: a resumed run goes back where the whole one would."""
        return {
            "rollbacks": self.rollbacks,
            "good_steps": self._good_steps,
            "good_state": self._good_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.rollbacks = state["rollbacks"]
        self._good_steps = state["good_steps"]
        self._good_state = state["good_state"]

    def _copy(self) -> dict[str, Any]:
        return {name: copy.deepcopy(part.state_dict()) for name, part in self._parts.items()}
