"""What each method costs: all in one run, each in its own process, scoring by turns."""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from typing import Any

from benchmarks.peers.clock import FIT_THREADS, IMAGES, SIZE
from benchmarks.turns import Contender

MEASURED = (
    "brightness",
    "gaussian",
    "padim",
    "patchcore",
    "dfm",
    "dfkde",
    "ganomaly",
    "image-baseline",
    "pixel-cpu",
    "features",
)
ROUNDS = 15
# Threads, and whether a map is made.
SETTINGS = ((1, 0), (1, 1), (2, 0), (2, 1))


def measure() -> dict[str, Any]:
    """Fit each on 200 images of 256 px, one after the other, then time one image at a time, by turns."""
    facts: dict[str, dict[str, Any]] = {}
    timings: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        workers: dict[str, Contender] = {}
        for name in MEASURED:
            print(f"-- fit {name}", file=sys.stderr, flush=True)
            workers[name] = stack.enter_context(Contender("benchmarks.peers.clock", name))
            facts[name] = workers[name].hear()
            timings[name] = {_key(*setting): [] for setting in SETTINGS}
        for _ in range(ROUNDS):
            for threads, heat_map in SETTINGS:
                for name, worker in workers.items():
                    timings[name][_key(threads, heat_map)].append(worker.ask(f"{threads} {heat_map}"))
    return {
        "images": IMAGES,
        "size": SIZE,
        "rounds": ROUNDS,
        "fit_threads": FIT_THREADS,
        "methods": {
            name: {
                **facts[name],
                "ms_per_image": {key: round(statistics.median(t), 2) for key, t in timings[name].items()},
            }
            for name in MEASURED
        },
    }


def _key(threads: int, heat_map: int) -> str:
    how = "1 thread, CPU time" if threads == 1 else f"{threads} threads, wall time"
    return f"{how}, {'with map' if heat_map else 'score alone'}"
