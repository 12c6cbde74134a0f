"""A camera that writes images while `patchebm watch` is killed, and what became of each image."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Camera(threading.Thread):
    """Writes images into sub-folders, each in two halves, some under a temporary name first.

    Args:
        folder: made if it does not exist.
        contents: bytes of image files, taken in turn.
        files: how many are written.
        pause: seconds between two files.
        seed: of which files are written in which way.
    """

    def __init__(self, folder: Path, contents: Sequence[bytes], files: int, pause: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.names = [f"line{i % 3}/{i:06d}.png" for i in range(files)]
        self._folder = folder
        self._contents = contents
        self._pause = pause
        self._random = random.Random(seed)
        for name in self.names[:3]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        for i, name in enumerate(self.names):
            content = self._contents[i % len(self._contents)]
            target = self._folder / name
            renamed = self._random.random() < 0.3
            path = target.with_suffix(".png.part") if renamed else target
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                # Now and then the second half is late.
                time.sleep(self._pause * (10 if self._random.random() < 0.02 else 0.5))
                file.write(content[len(content) // 2 :])
            if renamed:
                path.rename(target)
            time.sleep(self._pause * 0.5)


def watch_command(folder: Path, model: Path, out: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "patchebm.cli.main", "watch", str(folder)]
    return [*command, "--model", str(model), "--out", str(out), *options]


def count(results: Path) -> int:
    """Whole lines in the results."""
    return results.read_bytes().count(b"\n") if results.exists() else 0


def watch_and_kill(
    command: list[str], results: Path, camera: Camera, *, kills: int, seed: int, timeout: float
) -> list[int]:
    """Start a watcher again and again, kill it with SIGKILL at random moments, let the last one finish.

    Args:
        command: starts the watcher.
        results: its `results.jsonl`.
        camera: has been started, or has written everything.
        kills: how often the watcher is killed, spread over the images.
        seed: of the moments.
        timeout: seconds after which this gives up.

    Returns:
        Records that were there at each kill.

    Raises:
        RuntimeError: a watcher ended by itself, or the time is over.
    """
    moments = random.Random(seed)
    deadline = time.monotonic() + timeout
    files = len(camera.names)
    at = []
    for life in range(kills + 1):
        # Output goes nowhere: a pipe that nobody reads would stop the watcher.
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        goal = files if life == kills else max(count(results) + 1, files * (life + 1) // (kills + 2))
        # On a fast machine everything may be recorded before the last kill.
        goal = min(goal, files)
        try:
            while count(results) < goal:
                if process.poll() is not None:
                    raise RuntimeError(
                        f"the watcher ended: {process.stderr.read() if process.stderr else ''}"
                    )
                if time.monotonic() > deadline:
                    raise RuntimeError(f"only {count(results)} of {files} records after {timeout:.0f} s")
                time.sleep(0.01)
            if life < kills:
                # A batch takes some tenths of a second: in its middle, at its end, while records are written.
                time.sleep(moments.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
                process.wait()
                at.append(count(results))
            else:
                # Time to score something twice, if it does.
                time.sleep(1)
                process.send_signal(signal.SIGTERM)
                if process.wait(timeout=timeout):
                    raise RuntimeError(f"the watcher ended with {process.returncode} after SIGTERM")
        finally:
            process.kill()
            if process.stderr is not None:
                process.stderr.close()
            process.wait()
    return at


def tally(results: Path, names: Sequence[str]) -> dict[str, Any]:
    """What became of the images: how many were lost, recorded twice, and so on."""
    records = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    times = Counter(record["image"] for record in records)
    table = (results.parent / "results.csv").read_text(encoding="utf-8").splitlines()
    return {
        "files": len(names),
        "records": len(records),
        "lost": sum(times[name] == 0 for name in names),
        "twice": sum(times[name] > 1 for name in names),
        "foreign": len(set(times) - set(names)),
        "unreadable": sum("error" in record for record in records),
        "missing_in_csv": len(records) - (len(table) - 1),
    }
