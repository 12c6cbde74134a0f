"""How much memory `patchebm train --quick` takes, and how that grows with the number of images.

Each number of images is trained on in a process of its own, whose largest resident memory is read at the end.
The images are crops of photographs at random places, 128 x 128 pixels, since what a fit keeps does not
depend on the size of files. A run that is in the log is not repeated.

    python -m benchmarks.scale.train --images FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import Log, options, parse
from benchmarks.scale.__main__ import HERE, cpu_seconds
from patchebm.cli.train import run
from patchebm.evaluation.summary import markdown
from patchebm.files import write_text
from patchebm.images.listing import list_images
from patchebm.line.measure import peak_memory_mb
from patchebm.provenance import versions

COUNTS = (100, 400, 1600, 6400)
SIDE = 128
# Crops of one photograph are taken from so many pixels a side.
SMALLEST, LARGEST = 150, 300
PHOTOGRAPHS = 200


def write_crops(folder: Path, photographs: list[Path], count: int) -> None:
    """Writes crops that are no copies of each other; the first are the same for every count."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    opened = [Image.open(path).convert("RGB") for path in photographs[:PHOTOGRAPHS]]
    for i in range(count):
        image = opened[i % len(opened)]
        side = int(generator.integers(SMALLEST, min(LARGEST, *image.size)))
        left, top = (int(generator.integers(0, length - side + 1)) for length in image.size)
        crop = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
        crop.save(folder / f"{i:06}.jpg", quality=92)


def once(good: Path) -> dict[str, Any]:
    """Trains on the images of a folder, in this process."""
    cpu, began = cpu_seconds(), time.perf_counter()
    out = good.with_name("run")
    with redirect_stdout(sys.stderr):
        run([str(good), "--out", str(out), "--quick", "--device", "cpu"])
    facts = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return {
        "memory_mb": peak_memory_mb(),
        "distinct": facts["images"],
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(cpu_seconds() - cpu, 1),
        "load": round(os.getloadavg()[0], 1),
    }


def in_a_process(photographs: list[Path], count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good"
        write_crops(good, photographs, count)
        command = [sys.executable, "-m", "benchmarks.scale.train", "--once", str(good)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        [
            f"{row['images']:,}",
            f"{row['memory_mb']:,} MB",
            f"{1000 * row['cpu_seconds'] / row['images']:.0f} ms",
        ]
        for row in rows
    ]
    return markdown(["images", "largest resident memory", "CPU time an image"], lines)


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__)
    parser.prog = "python -m benchmarks.scale.train"
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS), metavar="N")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    arguments = parse(parser, argv)
    if arguments.once:
        print(json.dumps(once(arguments.once)))
        return
    if arguments.images is None:
        parser.error("--images is missing; name a folder of photographs")
    photographs = list(list_images(arguments.images).images)
    log = Log(arguments.out / "training")
    for count in arguments.counts:
        if count not in [row["images"] for row in log.rows]:
            log.keep({"images": count, **in_a_process(photographs, count)})
    rows = sorted(
        (row for row in log.rows if row["images"] in arguments.counts), key=lambda row: row["images"]
    )
    facts = {"command": arguments.command, "versions": versions(), "runs": rows}
    write_text(arguments.out / "train.json", json.dumps(facts, indent=1) + "\n")
    write_text(arguments.out / "train.md", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
