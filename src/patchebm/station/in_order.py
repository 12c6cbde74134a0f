"""This module hands over what several threads work on in the order in which they began."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turn(Generic[T]):
    """This class is the place of one piece of work in the order of its group.

    Args:
        group: to which it belongs.

    Attributes:
        group: to which it belongs.
        is_done: whether the work has ended.
        result: what it gave; None if nothing is to be handed over.
    """

    def __init__(self, group: Hashable) -> None:
        self.group = group
        self.is_done = False
        self.result: T | None = None


class InOrder(Generic[T]):
    """This class keeps a result back until all that began before it in its group have ended.

    Args:
        hand_over: gets the results, from one thread at a time.
    """

    def __init__(self, hand_over: Callable[[T], None]) -> None:
        self._hand_over = hand_over
        self._lock = threading.Lock()
        self._turns: dict[Hashable, deque[Turn[T]]] = {}

    def begin(self, group: Hashable) -> Turn[T]:
        """Returns the next turn of a group. It must be ended, or all that follow wait for ever."""
        turn: Turn[T] = Turn(group)
        with self._lock:
            self._turns.setdefault(group, deque()).append(turn)
        return turn

    def end(self, turn: Turn[T], result: T | None) -> None:
        """Hands over the result, None if there is none, and those that waited for it; or keeps it back."""
        with self._lock:
            turn.is_done, turn.result = True, result
            turns = self._turns[turn.group]
            while turns and turns[0].is_done:
                first = turns.popleft().result
                if first is not None:
                    self._hand_over(first)
            if not turns:
                del self._turns[turn.group]
