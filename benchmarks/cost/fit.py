"""One method fitted in a process of its own, and saved; prints what that took as JSON.

    python -m benchmarks.cost.fit METHOD IMAGES FOLDER THREADS

IMAGES is a folder of good images, FOLDER is where the method is saved.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

import torch

from benchmarks.output import own_output
from benchmarks.peers.methods import METHODS
from patchebm.line.measure import peak_memory_mb


def main(name: str, images: Path, folder: Path, threads: int, out: TextIO) -> None:
    torch.set_num_threads(threads)
    paths = sorted(images.iterdir())
    method = METHODS[name].make()
    before = peak_memory_mb()
    began = time.perf_counter()
    facts = method.fit(paths, [None] * len(paths), 0)
    seconds = time.perf_counter() - began
    peak = peak_memory_mb()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    method.save(folder)
    facts |= {
        "fit_seconds": round(seconds, 1),
        "fit_threads": threads,
        "imports_mb": before,
        "peak_mb": peak,
        "state_bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "torch": torch.__version__,
    }
    out.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), own_output())
