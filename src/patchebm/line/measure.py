"""This module measures how fast a model is on this machine, in processes of their own.

A process each, because a runtime keeps the threads that it was started with, because the time to the first
verdict is that of a process that has just started, and because a runtime that crashes ends only its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patchebm.errors import PatchebmError
from patchebm.images.reading import read_image
from patchebm.loading import load

# Seconds for which images are scored, and how many at most.
SECONDS, MAX_IMAGES = 3.0, 200
# Far more than any model takes.
TIMEOUT = 300.0


@dataclass(frozen=True)
class Speed:
    """This class holds what was measured.

    Attributes:
        threads: that the runtime was given.
        first_verdict_s: seconds from the start of the process to its first verdict.
        read_ms: milliseconds to read and decode an image, in the median.
        score_ms: milliseconds to score one that is decoded, one at a time and without its map, in the median.
        memory_mb: the most memory that the process took; None if that is not known.
    """

    threads: int
    first_verdict_s: float
    read_ms: float
    score_ms: float
    memory_mb: int | None


def measure(
    model: str,
    images: Sequence[Path],
    threads: int,
    *,
    provider: str | None = None,
    device: str = "auto",
) -> Speed:
    """Starts a process that scores images, and waits for what it measured.

    Args:
        model: bundle or run folder.
        images: images to score, in turn.
        threads: for the runtime.
        provider: for a bundle, what computes; see `patchebm.load`.
        device: for a run folder, what computes.

    Raises:
        PatchebmError: the model or an image cannot be used, or the process crashed.
    """
    settings = json.dumps({"threads": threads, "provider": provider, "device": device})
    command = [sys.executable, "-m", "patchebm.line.measure", str(time.time()), settings, model]
    # torch takes the number of threads from here before anything is imported.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            [*command, *map(str, images)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PatchebmError(f"{model} gave no figures within {TIMEOUT:.0f} s on {threads} threads") from error
    if done.returncode == 0:
        return Speed(**json.loads(done.stdout.splitlines()[-1]))
    if done.returncode == 2:
        raise PatchebmError(done.stderr.strip().splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise PatchebmError(
        f"scoring with {model} on {threads} threads ended with status {done.returncode}: {last}"
    )


def peak_memory_mb(process: int | str = "self") -> int | None:
    """Returns the most resident memory that a process has had so far; None where Linux does not tell.

    Not `getrusage`: its figure starts with that of the parent process.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:")), None)


def _measure_here(began: float, settings: dict[str, Any], model: str, images: Sequence[str]) -> Speed:
    predictor = load(model, **settings)
    predictor.predict([images[0]], heat_maps=False)
    first = time.time() - began
    read, score = [], []
    deadline = time.monotonic() + SECONDS
    for i in range(MAX_IMAGES):
        start = time.perf_counter()
        image = read_image(images[i % len(images)], predictor.decoding_)
        decoded = time.perf_counter()
        predictor.predict([image], heat_maps=False)
        read.append(decoded - start)
        score.append(time.perf_counter() - decoded)
        if time.monotonic() > deadline:
            break
    return Speed(
        threads=settings["threads"],
        first_verdict_s=round(first, 2),
        read_ms=round(1000 * statistics.median(read), 2),
        score_ms=round(1000 * statistics.median(score), 2),
        memory_mb=peak_memory_mb(),
    )


def _main() -> int:
    began, settings, model, *images = sys.argv[1:]
    try:
        speed = _measure_here(float(began), json.loads(settings), model, images)
    except PatchebmError as error:
        print(error, file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"{model} needs {error.name}, which is not installed", file=sys.stderr)
        return 2
    print(json.dumps(asdict(speed)))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
