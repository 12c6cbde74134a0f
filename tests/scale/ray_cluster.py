"""A Ray cluster of simulated nodes on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ray.cluster_utils import Cluster


@contextmanager
def cluster_of(nodes: int) -> Iterator[Cluster]:
    """A cluster of nodes with one core each."""
    # Else workers starve beside other programs; nodes take it from here.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    settings = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**settings, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            made.add_node(**settings)
        yield made
    finally:
        made.shutdown()
        del os.environ["RAY_worker_niceness"]  # noqa: SIM112
