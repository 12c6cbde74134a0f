"""This module is the engine for one machine: a pool of processes with one engine thread each."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from patchebm.device import available_threads
from patchebm.errors import PatchebmError
from patchebm.processes import end_with_parent
from patchebm.scale.block import Done
from patchebm.scale.engine import B, Work

# The work of this process, where it is a worker: what a pool's initialiser leaves for its functions.
_worker: dict[str, Work[Any]] = {}


class LocalEngine:
    """This class scores in processes of this machine.

    Args:
        workers: processes; None for one for each core that this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or available_threads()

    def score(self, work: Work[B], blocks: Iterable[B]) -> Generator[Done, None, None]:
        """Scores blocks, and yields what was done; see `patchebm.scale.engine.Engine`.

        Raises:
            PatchebmError: what a worker raises, or a worker died.
        """
        # Not fork: engines and file systems have threads, which do not survive it.
        context = multiprocessing.get_context("spawn")
        others = multiprocessing.active_children()
        pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_begin, initargs=(work,))
        remaining = iter(blocks)
        running: set[Future[Done]] = set()
        try:
            while True:
                # As many again wait as are worked on, so that no worker does.
                for block in islice(remaining, 2 * self.workers - len(running)):
                    running.add(pool.submit(_score, block))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as error:
            raise PatchebmError(
                "a worker process died, for instance for want of memory; what was scored stays: start again, "
                "with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=not running, cancel_futures=True)
            if running:
                # Parts are written whole or not at all: nothing is lost but what was being scored.
                for process in multiprocessing.active_children():
                    if process not in others:
                        process.terminate()


def _begin(work: Work[Any]) -> None:
    """Makes this process a worker, which ends with its parent, however that ends."""
    _worker["work"] = work
    # Ctrl-C reaches the whole group of processes; the parent decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _score(block: Any) -> Done:
    return _worker["work"].score(block)
