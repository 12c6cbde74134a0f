"""Processes of this machine that do one kind of work side by side."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from patchebm.device import available_threads
from patchebm.errors import ConfigError, PatchebmError

T = TypeVar("T")


class Processes:
    """A number of processes that call functions; they begin with the first call and end with the block.

    They begin with nothing of this one (`spawn`), so a script that gets here must guard its main part with
    `if __name__ == "__main__"`.

    Args:
        count: of the processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._folder = tempfile.TemporaryDirectory(prefix="patchebm-")
        # Not fork: libraries that compute have threads, which do not survive it.
        context = multiprocessing.get_context("spawn")
        threads = max(1, available_threads() // count)
        self._pool = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(threads,))
        self._shared = 0

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def share(self, function: Callable[..., T]) -> Callable[..., T]:
        """Returns a function for `map` that does the same, and holds much: each process is given it once.

        Raises:
            ConfigError: it cannot be given to another process.
            PatchebmError: there is no room for it.
        """
        self._shared += 1
        file = Path(self._folder.name) / str(self._shared)
        try:
            with file.open("wb") as stream:
                pickle.dump(function, stream, protocol=5)
        except OSError as error:
            raise PatchebmError(
                f"what several processes need does not fit into {tempfile.gettempdir()} "
                f"({error.strerror or error}); free some space, or set TMPDIR to a folder with more"
            ) from error
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"what several processes need cannot be given to them ({error}); leave --workers out"
            ) from error
        return _Shared(file)

    def map(self, function: Callable[..., T], arguments: Iterable[tuple[Any, ...]]) -> Iterator[T]:
        """Calls a function with the arguments of each call, and yields the results in their order.

        Twice as many calls as there are processes are begun before the first of their results is taken, so
        that little waits in memory.

        Raises:
            PatchebmError: a process died; or what the function raises.
        """
        waiting: deque[Future[bytes]] = deque()
        try:
            for call in arguments:
                waiting.append(self._pool.submit(_call, function, *call))
                if len(waiting) > 2 * self.count:
                    yield pickle.loads(waiting.popleft().result())
            while waiting:
                yield pickle.loads(waiting.popleft().result())
        except BrokenProcessPool as error:
            raise PatchebmError(
                f"one of {self.count} worker processes died, for instance for want of memory; start again "
                "with fewer --workers"
            ) from error


def end_with_parent() -> None:
    """Has this process end with its parent, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _begin(threads: int) -> None:
    # torch takes the number of threads from here; nothing has imported it yet.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # Ctrl-C reaches the whole group of processes; the parent decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _call(function: Callable[..., object], *arguments: object) -> bytes:
    """Returns a pickled result: else torch would send its tensors by way of /dev/shm, which may be small."""
    return pickle.dumps(function(*arguments), protocol=5)


@dataclass(frozen=True)
class _Shared:
    """A function that lies in a file which the same run wrote, and that a process reads once."""

    file: Path

    def __call__(self, *arguments: Any) -> Any:
        return _read(self.file)(*arguments)


@cache
def _read(file: Path) -> Callable[..., Any]:
    with file.open("rb") as stream:
        function: Callable[..., Any] = pickle.load(stream)
    return function
