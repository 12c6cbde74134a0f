"""This module trains models beside the line: one at a time, each in processes of its own.

The station never imports torch. It runs the verbs that everybody uses, `check`, `train` and `export`, in the
folder of the training, with less priority than the line, and keeps what they print. What a training is
stands in its folder alone, so that a damaged or deleted one takes nothing with it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from patchebm.files import replacing
from patchebm.station.database.base import now
from patchebm.station.errors import ConflictError, NotFoundError, UnavailableError

_log = logging.getLogger(__name__)

State = Literal["running", "done", "failed", "cancelled"]

# Packages that training needs and a station does not.
NEEDED = ("torch", "lightning", "onnx")
# Trainings of a product that are kept, the newest ones.
KEPT = 5
# Added to the niceness of the processes: the line goes first.
NICENESS = 10
# Seconds that a process has between the request to end and its end.
GRACE = 10.0
_ERROR = "patchebm: error: "
_RECORD, _LOG, _BUNDLE = "training.json", "log.txt", "model.patchebm"
_REPORTS = {"check": Path("check", "check.html"), "training": Path("run", "training.html")}


@dataclass(frozen=True)
class Training:
    """This class is what is known of a training.

    Attributes:
        id: of it, which is the name of its folder, too.
        product: name of the product that the model is for.
        images: that it learns from.
        quick: whether Gaussians alone are fitted, without a network.
        false_alarm_rate: that its threshold is for.
        started_by: who started it.
        started: when that was.
        state: how it stands.
        step: the verb that runs, or ran last.
        message: why it failed; else empty.
        ended: when it ended; None before.
    """

    id: str
    product: str
    images: int
    quick: bool
    false_alarm_rate: float
    started_by: str
    started: str
    state: State = "running"
    step: str = "check"
    message: str = ""
    ended: str | None = None

    @property
    def seconds(self) -> float:
        """Seconds from the start to the end, or until now."""
        end = datetime.fromisoformat(self.ended) if self.ended else now()
        return (end - datetime.fromisoformat(self.started)).total_seconds()


class Trainings:
    """This class keeps the trainings of a station. Threads may share it.

    Args:
        folder: in which each training has one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._running: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Says of trainings which the end of the last process has interrupted that they failed."""
        for one in self._all():
            if one.state == "running":
                self._end(one, "failed", "the station ended meanwhile; start it again")

    def stop(self) -> None:
        """Ends the training that runs."""
        if (running := self._running) is not None:
            self.cancel(running)

    def begin(
        self,
        product: str,
        write_images: Callable[[Path], int],
        *,
        quick: bool,
        false_alarm_rate: float,
        started_by: str,
    ) -> Training:
        """Begins to train, and returns at once.

        Args:
            product: that the model is for.
            write_images: writes the good images into a folder, and returns how many they are; whatever it
                raises ends the training before it began.
            quick: whether Gaussians alone are fitted, without a network.
            false_alarm_rate: that the threshold is for.
            started_by: who asks for it.

        Raises:
            ConflictError: another one runs.
            UnavailableError: what training needs is not installed.
        """
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            raise UnavailableError(
                f"training needs {', '.join(missing)}, which this station does without; install "
                "'patchebm[train,backbones,export]' beside it, or train elsewhere and upload the bundle"
            )
        name = str(uuid.uuid4())
        with self._lock:
            if self._running is not None:
                raise ConflictError("another training runs; wait for its end, or cancel it")
            self._running = name
            self._cancelled.clear()
        place = self._folder / name
        try:
            good = place / "good"
            good.mkdir(parents=True)
            training = Training(
                id=name,
                product=product,
                images=write_images(good),
                quick=quick,
                false_alarm_rate=false_alarm_rate,
                started_by=started_by,
                started=now().isoformat(),
            )
            self._keep(training)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            with self._lock:
                self._running = None
            raise
        self._forget_old(product)
        self._thread = threading.Thread(target=self._run, args=(training,), name="training", daemon=True)
        self._thread.start()
        return training

    def cancel(self, name: str) -> None:
        """Ends a training, if it runs, and waits for that."""
        with self._lock:
            if self._running != name:
                return
            self._cancelled.set()
            if self._process is not None:
                _signal(self._process, signal.SIGTERM)
        thread = self._thread
        if thread is not None:
            thread.join(2 * GRACE)

    def of(self, product: str) -> list[Training]:
        """Returns the trainings of a product, newest first."""
        own = [one for one in self._all() if one.product == product]
        return sorted(own, key=lambda one: one.started, reverse=True)

    def get(self, product: str, name: str) -> Training:
        """Returns a training of a product. Raises NotFoundError if there is none."""
        for one in self.of(product):
            if one.id == name:
                return one
        raise NotFoundError(f"'{product}' has no training {name:.40}")

    def said(self, training: Training, lines: int = 12) -> list[str]:
        """Returns the last lines that the processes printed."""
        with suppress(FileNotFoundError):
            text = (self._folder / training.id / _LOG).read_text(encoding="utf-8", errors="replace")
            return text.splitlines()[-lines:]
        return []

    def report(self, training: Training, kind: str) -> bytes | None:
        """Returns the page that `check` or `train` wrote, or None as long as there is none."""
        path = self._folder / training.id / _REPORTS[kind]
        return path.read_bytes() if path.exists() else None

    def bundle(self, training: Training) -> bytes:
        """Returns the model. Raises ConflictError if the training is not done."""
        if training.state != "done":
            raise ConflictError("this training has made no model")
        return (self._folder / training.id / _BUNDLE).read_bytes()

    def _run(self, training: Training) -> None:
        place = self._folder / training.id
        rate = f"{training.false_alarm_rate:g}"
        chosen = ["--quick"] if training.quick else []
        steps: dict[str, list[str]] = {
            "check": ["good", "--report", "check", "--false-alarm-rate", rate],
            "train": ["good", "--out", "run", "--false-alarm-rate", rate, *chosen],
            "export": ["run", "--out", _BUNDLE],
        }
        state: State = "done"
        message = ""
        try:
            for step, words in steps.items():
                training = replace(training, step=step)
                self._keep(training)
                if self._call(place, [step, *words]):
                    lines = self.said(training, 1)
                    state, message = "failed", (lines or [f"{step} ended without a word"])[0]
                    break
                if self._cancelled.is_set():
                    break
        # Whatever fails here, it is said, and the next training can begin.
        except Exception as error:
            _log.exception("training %s failed", training.id)
            state, message = "failed", str(error)
        if self._cancelled.is_set():
            state, message = "cancelled", ""
        # Only the model, the pages and the log are looked at from now on.
        shutil.rmtree(place / "good", ignore_errors=True)
        self._end(training, state, message.removeprefix(_ERROR))
        with self._lock:
            self._running = None

    def _call(self, place: Path, words: Sequence[str]) -> int:
        """Runs a verb, and returns its exit status."""
        command = [sys.executable, "-m", "patchebm.cli.main", *words]
        with (place / _LOG).open("ab") as log:
            with self._lock:
                if self._cancelled.is_set():
                    return 1
                process = subprocess.Popen(
                    command,
                    cwd=place,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                self._process = process
            with suppress(OSError):
                os.setpriority(os.PRIO_PGRP, process.pid, NICENESS)
            try:
                while True:
                    with suppress(subprocess.TimeoutExpired):
                        return process.wait(GRACE)
                    if self._cancelled.is_set():
                        _signal(process, signal.SIGKILL)
            finally:
                with self._lock:
                    self._process = None

    def _end(self, training: Training, state: State, message: str) -> None:
        self._keep(replace(training, state=state, message=message, ended=now().isoformat()))

    def _keep(self, training: Training) -> None:
        with replacing(self._folder / training.id / _RECORD) as temporary:
            temporary.write_text(json.dumps(asdict(training)), encoding="utf-8")

    def _all(self) -> list[Training]:
        found = []
        for path in self._folder.glob(f"*/{_RECORD}"):
            try:
                found.append(Training(**json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError) as error:
                _log.warning("%s is not the record of a training: %s", path, error)
        return found

    def _forget_old(self, product: str) -> None:
        for one in self.of(product)[KEPT:]:
            shutil.rmtree(self._folder / one.id, ignore_errors=True)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Sends a signal to a process and to those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
