"""Processes that do one kind of work side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from patchebm.errors import ConfigError, ImageError, PatchebmError
from patchebm.processes import Processes
from tests.scale.processes import wait_until_gone

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Task:
    """Work on a number, which is done in this process or another."""

    offset: int

    def __call__(self, number: int) -> tuple[int, int]:
        if number == -1:
            raise ImageError("number -1 cannot be used")
        if number == -2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number + self.offset, os.getpid()


def test_results_come_in_order_from_several_processes_and_little_is_asked_for_ahead() -> None:
    asked: list[int] = []

    def calls() -> Iterator[tuple[int]]:
        for number in range(30):
            asked.append(number)
            yield (number,)

    with Processes(2) as processes:
        found = processes.map(processes.share(Task(100)), calls())
        first = next(found)
        assert len(asked) <= 5
        results = [first, *found]
    assert [number for number, _ in results] == list(range(100, 130))
    assert os.getpid() not in {pid for _, pid in results}


def test_what_goes_wrong_is_one_sentence() -> None:
    with Processes(2) as processes:
        with pytest.raises(ImageError, match=r"^number -1 cannot be used$"):
            list(processes.map(Task(0), [(1,), (-1,)]))
        with pytest.raises(ConfigError, match=r"cannot be given to them .* leave --workers out"):
            processes.share(lambda: None)
        with pytest.raises(PatchebmError, match=r"^one of 2 worker processes died, .* fewer --workers$"):
            list(processes.map(Task(0), [(1,), (-2,), (3,)]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_processes_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal\n"
        "from patchebm.processes import Processes\n"
        "from tests.test_processes import Task\n"
        "if __name__ == '__main__':\n"
        "    with Processes(1) as processes:\n"
        "        ((_, pid),) = processes.map(Task(0), [(1,)])\n"
        "        print(pid, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # What is left of a process that is killed is left there.
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], env=env, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until_gone([int(done.stdout)])
