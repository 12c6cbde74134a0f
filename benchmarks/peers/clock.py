"""One method in a process of its own, fitted on drawn images, that times a score when it is told to.

    python -m benchmarks.peers.clock METHOD

Writes a line of JSON after the fit. Then, for each line `THREADS MAP` that it reads (`1 0`: one thread, no
map), scores an image twice and writes how long the second time took, in milliseconds: of this process's CPU
time with one thread, of wall time with more.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TextIO

import numpy as np
import torch

from benchmarks.peers.methods import METHODS
from benchmarks.peers.output import own_output
from patchebm.line.measure import peak_memory_mb
from patchebm_products import draw

IMAGES = 200
SIZE = 256
# With two, PaDiM's inversion of its covariances fails in torch 2.14.1.
FIT_THREADS = 1


def main(name: str, out: TextIO) -> None:
    def say(what: object) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    torch.set_num_threads(FIT_THREADS)
    images = [
        draw("flange", seed=0, split="train/good", index=i, defect="good", size=SIZE)[0].astype(np.float32)
        / 255
        for i in range(IMAGES)
    ]
    method = METHODS[name].make()
    before = peak_memory_mb() or 0
    began = time.perf_counter()
    facts = method.fit(images, [None] * IMAGES, 0)
    fitted = time.perf_counter() - began
    # Once before the memory is read: a score may hold more than the fit did.
    method.score(images[0], heat_map=True)
    say(
        {
            "fit_seconds": round(fitted, 1),
            "peak_mb": (peak_memory_mb() or 0) - before,
            "state_bytes": method.state_bytes(),
            **facts,
        }
    )
    for line in sys.stdin:
        threads, heat_map = map(int, line.split())
        torch.set_num_threads(threads)
        clock = time.process_time if threads == 1 else time.perf_counter
        # The first call warms the caches that the method before left cold.
        method.score(images[0], heat_map=bool(heat_map))
        start = clock()
        method.score(images[0], heat_map=bool(heat_map))
        say(round(1000 * (clock() - start), 3))


if __name__ == "__main__":
    main(sys.argv[1], own_output())
