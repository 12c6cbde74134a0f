"""This module counts what workers on a Ray cluster begin and do not end, because they die.

A worker that dies cannot say so itself, and Ray starts it again, for ever, whatever killed it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

TRIES = 4
"""What was begun so often and never ended is given up. A machine may well be lost, but not so often."""


class Tries:
    """This class is an actor that all workers of a run tell what they begin and what they end."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, what: str) -> int:
        """Counts that something is begun, and returns how often it was begun since it last ended."""
        self._begun[what] += 1
        return self._begun[what]

    def end(self, what: str) -> None:
        """Forgets what has ended."""
        self._begun.pop(what, None)


def start_tries() -> Any:
    """Starts the actor beside the driver, which nothing survives; it ends when its handle is let go of."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return ray.remote(**options)(Tries).remote()
