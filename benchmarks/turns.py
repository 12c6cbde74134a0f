"""Processes that are timed by turns.

Each contender has one of its own, because a runtime keeps the threads that it was started with, and lets them
spin for a while after each call: in one process contenders would slow each other down. While others have
their turn a process waits for a line on its standard input, and costs nothing once its threads have settled.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

# Seconds before each turn: threads of the one before still spin.
SETTLE = 0.3


class Process:
    """A process that answers each line that it is given with a line of JSON.

    Args:
        command: starts it.
        environment: of the process.
        errors: file to which its standard error is appended.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], errors: Path) -> None:
        self._errors = errors
        with errors.open("ab") as stream:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env=environment,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def answer(self) -> Any:
        """Returns the next thing that it says. Raises RuntimeError if it died."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            said = self._errors.read_text(errors="replace").strip().splitlines() or [""]
            raise RuntimeError(f"a contender died: {said[-1][:200]} (more in {self._errors})")
        return json.loads(line)

    def ask(self, question: object) -> Any:
        """Returns its answer to a question, which is asked after `SETTLE`. Raises RuntimeError if it died."""
        time.sleep(SETTLE)
        assert self._process.stdin
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self.answer()
