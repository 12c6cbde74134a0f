"""Contenders that are timed by turns, each in a process of its own.

A process each, because a runtime keeps the threads that it was started with, and lets them spin for a while
after each call: in one process contenders would slow each other down. While others have their turn a process
waits for a line on its standard input, and costs nothing once its threads have settled.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from types import TracebackType
from typing import Any

# Seconds before each turn: threads of the one before still spin.
SETTLE = 0.3


class Contender:
    """A process of `python -m MODULE ARGUMENTS` that answers each line it is given with a line of JSON.

    Args:
        module: to run.
        arguments: for it.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def hear(self) -> Any:
        """The next thing that it says. Raises RuntimeError if it died."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contender died; run `{' '.join(self._command[1:])}` to see why")
        return json.loads(line)

    def ask(self, line: str) -> Any:
        """What it answers to a line, after `SETTLE`. Raises RuntimeError if it died."""
        time.sleep(SETTLE)
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.hear()
