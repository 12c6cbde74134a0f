"""This module connects to a Ray cluster, or starts Ray on this machine for one run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from patchebm.device import available_threads
from patchebm.errors import ConfigError
from patchebm.scale.ray_tries import TRIES

# Paths of images and what was done, but never pixels, go through Ray's shared memory.
_OBJECT_STORE_BYTES = 256 * 2**20


@contextmanager
def ray_session(address: str | None, workers: int | None = None) -> Iterator[int]:
    """Connects to Ray, and leaves it again unless this process was connected before.

    Args:
        address: of a cluster; None for that of the environment (`RAY_ADDRESS`, as in a Ray job), else Ray is
            started on this machine.
        workers: that a Ray started here has room for; None for one for each core.

    Yields:
        The number of cores of the cluster.

    Raises:
        ConfigError: there is no cluster at the address, or Ray cannot be started.
    """
    ours = not ray.is_initialized()
    if ours:
        _connect(address or os.environ.get("RAY_ADDRESS"), workers)
    try:
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        if ours:
            ray.shutdown()


def _connect(address: str | None, workers: int | None) -> None:
    # What Ray says of its own workings is no result; warnings and errors are still said.
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    # Images of a plant are no one else's business, nor how many machines it has.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
    # Else Ray does a task for ever whose workers it ends for want of memory, whatever its retries.
    os.environ.setdefault("RAY_task_oom_retries", str(TRIES))
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:
            # Ray gives its workers a low priority, with which they starve beside other programs.
            os.environ.setdefault("RAY_worker_niceness", "0")
            ray.init(
                # Not one that happens to run on this machine.
                address="local",
                num_cpus=workers or available_threads(),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
    except Exception as error:
        where = "Ray cannot be started here" if address is None else f"there is no Ray cluster at {address}"
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where} ({reason:.200}); start one with `ray start --head`") from error
