"""This module holds limits on how often something may be done, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class RateLimit:
    """This class lets each key do something so often: a token bucket a key. Threads may share it.

    Args:
        rate: times in a second, in the long run.
        burst: times at once, at most.
        keys: keys that are remembered at most; the one that was quiet for longest is forgotten first.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        *,
        keys: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._most = keys
        self._clock = clock
        self._lock = threading.Lock()
        # Tokens that are left, and when that was so.
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait(self, key: Hashable) -> float:
        """Returns the seconds until a key may go on: 0 if it may now. It takes nothing."""
        with self._lock:
            return max(0.0, (1 - self._left(key)) / self._rate)

    def take(self, key: Hashable) -> float:
        """Takes one, if there is one. Returns the seconds until there is: 0 if it was taken."""
        with self._lock:
            left = self._left(key)
            taken = left >= 1
            self._buckets[key] = (left - taken, self._clock())
            self._buckets.move_to_end(key)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
            return 0.0 if taken else (1 - left) / self._rate

    def forget(self, key: Hashable) -> None:
        """Gives a key all it may have."""
        with self._lock:
            self._buckets.pop(key, None)

    def _left(self, key: Hashable) -> float:
        left, then = self._buckets.get(key, (self._burst, self._clock()))
        return min(self._burst, left + (self._clock() - then) * self._rate)
