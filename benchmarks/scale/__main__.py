"""What `patchebm score` costs beside the bare runtime: workers, Ray, memory of the driver.

Each round measures, one after the other on the same images: the bare runtime in one process (reading a file
and scoring it), one worker, two workers, and two workers of Ray, on few and on many rows. What a row costs is
the slope between the two, so that starts do not count; the start is what remains. CPU seconds hardly depend
on what else the machine does, seconds do: the load is kept beside them.

The memory of the driver is measured in processes of their own, with manifests that name the same image again
and again and a model that says at once what it knows, so that a million rows take minutes.

    python -m benchmarks.scale --model part.patchebm --images FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import Log, options, parse, write_results
from patchebm.device import available_threads
from patchebm.errors import ImageError
from patchebm.evaluation.summary import markdown
from patchebm.images.listing import list_images
from patchebm.images.photo import Photo
from patchebm.images.reading import read_image
from patchebm.line.measure import peak_memory_mb
from patchebm.runtime.bundle_predictor import BundlePredictor
from patchebm.runtime.prediction import Prediction
from patchebm.scale.block import Done, Task
from patchebm.scale.engine import Engine
from patchebm.scale.local import LocalEngine
from patchebm.scale.model import open_model
from patchebm.scale.plan import Block
from patchebm.scale.score import begin, score
from patchebm.scale.source import open_source

HERE = Path(__file__).resolve().parent
MEMORY_ROWS = (10_000, 100_000, 1_000_000)


def write_manifest(file: Path, images: list[Path], rows: int) -> Path:
    with file.open("w", encoding="utf-8") as text:
        text.write("path\n")
        text.writelines(f"{images[i % len(images)]}\n" for i in range(rows))
    return file


def cpu_seconds() -> float:
    """Returns what this process and the children that it has waited for have used."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def timed(work: Any) -> dict[str, float]:
    load, cpu, began = os.getloadavg()[0], cpu_seconds(), time.perf_counter()
    work()
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "cpu_seconds": round(cpu_seconds() - cpu, 3),
        "load": round(load, 1),
    }


def in_a_process(arguments: argparse.Namespace, way: str, rows: int) -> dict[str, float]:
    """Measures in a process of its own, whose children are waited for when it ends."""
    command = [sys.executable, "-m", "benchmarks.scale", "--model", str(arguments.model)]
    command += ["--images", str(arguments.images), "--once", way, "--rows", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def once(arguments: argparse.Namespace) -> dict[str, float]:
    """Measures one way of scoring."""
    images = list(list_images(arguments.images).images)
    predictor, sha256 = open_model(str(arguments.model))
    some = [images[i % len(images)] for i in range(arguments.rows)]
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_manifest(Path(folder) / "list.csv", images, arguments.rows)
        if arguments.once == "decoding":
            return timed(lambda: [read_image(path, predictor.decoding_) for path in some])
        if arguments.once == "bare":
            return timed(lambda: list(predictor.outcomes(map(Photo, some), heat_maps=False)))
        if arguments.once == "memory":
            begun = begin(open_source(str(manifest)), _Knowing(predictor), sha256, f"{folder}/out")
            return timed(lambda: score(begun, _Here())) | {"memory_mb": peak_memory_mb() or 0}
        engine: Engine = LocalEngine(int(arguments.once[-1]))
        if arguments.once.startswith("ray"):
            from patchebm.scale.ray_engine import RayEngine

            engine = RayEngine(int(arguments.once[-1]))

        def work() -> None:
            score(begin(open_source(str(manifest)), predictor, sha256, f"{folder}/out"), engine)

        return timed(work)


class _Here:
    """An engine without workers: the memory of the driver is all that there is."""

    def score(self, task: Task, blocks: Iterable[Block]) -> Generator[Done, None, None]:
        for block in blocks:
            yield task.score(block)


class _Knowing(BundlePredictor):
    """A model that knows the score of every image without reading it."""

    def __init__(self, other: BundlePredictor) -> None:
        self.__dict__.update(other.__dict__)

    def outcomes(self, images: Any, *, heat_maps: bool = True) -> Iterator[Prediction | ImageError]:
        threshold, names = self.threshold_.value, self.calibration_.level_names
        for image in images:
            levels = dict.fromkeys(names, 0.0)
            yield Prediction(str(image.path), 0.0, False, threshold, 0.5, False, levels)


def per_row(rows: list[dict[str, Any]], way: str, key: str) -> tuple[float, float]:
    """Returns what a row costs and what a start costs, in the median over rounds."""
    slopes, starts = [], []
    for number in {row["seed"] for row in rows}:
        few, many = sorted(
            (row for row in rows if row["seed"] == number and row["variant"] == way),
            key=lambda row: row["rows"],
        )
        slope = (many[key] - few[key]) / (many["rows"] - few["rows"])
        slopes.append(slope)
        starts.append(few[key] - slope * few["rows"])
    return statistics.median(slopes), max(0.0, statistics.median(starts))


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    speeds = [row for row in rows if row["set"] == "speed"]
    cpu = {way: per_row(speeds, way, "cpu_seconds")[0] for way in ("decoding", "bare", "local-1", "local-2")}
    wall = {way: per_row(speeds, way, "seconds") for way in ("bare", "local-1", "local-2", "ray-2")}

    def at(way: str, count: int) -> float:
        return wall[way][0] * count + wall[way][1]

    return {
        "cpu_ms_per_image": {way: round(1000 * value, 2) for way, value in cpu.items()},
        "wall_ms_per_image": {way: round(1000 * value[0], 2) for way, value in wall.items()},
        "start_seconds": {way: round(value[1], 1) for way, value in wall.items()},
        "share_of_decoding": round(cpu["decoding"] / cpu["local-1"], 3),
        "images_per_core_against_bare": round(cpu["bare"] / cpu["local-1"], 3),
        "two_workers_against_one": round(wall["local-1"][0] / wall["local-2"][0], 2),
        "ray_overhead_at_100000": round(at("ray-2", 100_000) / at("local-2", 100_000) - 1, 3),
        "memory_mb": {str(row["rows"]): row["memory_mb"] for row in rows if row["set"] == "memory"},
        "core_hours_for_10_million_images": round(1e7 * cpu["local-1"] / 3600, 1),
        "core_hours_of_it_for_decoding": round(1e7 * cpu["decoding"] / 3600, 1),
        "cores": available_threads(),
        "load": [min(row["load"] for row in speeds), max(row["load"] for row in speeds)],
    }


def table(found: dict[str, Any]) -> str:
    memory = ", ".join(f"{mb} MB at {int(rows):,} rows" for rows, mb in found["memory_mb"].items())
    cpu, start = found["cpu_ms_per_image"], found["start_seconds"]
    load, cores = found["load"], found["cores"]
    # Beside so much other work seconds say nothing of the engines.
    busy = load[1] > 2 * cores
    untold = f"not to be told: load {load[0]} to {load[1]} on {cores} cores"
    lines = [
        ["CPU time of an image, bare runtime", f"{cpu['bare']} ms"],
        ["CPU time of an image, `score`", f"{cpu['local-1']} ms ({found['share_of_decoding']:.0%} decoding)"],
        ["Images a core-second against the bare runtime", f"{found['images_per_core_against_bare']:.2f}"],
        ["Two workers against one",
         untold if busy else f"{found['two_workers_against_one']:.2f} times as fast"],
        ["Time of Ray against processes, 100,000 images (computed)",
         untold if busy else f"{found['ray_overhead_at_100000']:+.1%}"],
        ["Start of the engines, seconds",
         untold if busy else f"processes {start['local-2']}, Ray {start['ray-2']}"],
        ["Memory of the driver", memory],
        ["10 million images (computed)", f"{found['core_hours_for_10_million_images']} core-hours, "
         f"{found['core_hours_of_it_for_decoding']} of them decoding"],
        ["Load of the machine meanwhile", f"{load[0]} to {load[1]} on {cores} cores"],
    ]  # fmt: skip
    return markdown(["what", "measured"], lines)


def main() -> None:
    parser = options(HERE, __doc__)
    parser.add_argument("--model", type=Path, required=True, help="bundle")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--few", type=int, default=40)
    parser.add_argument("--many", type=int, default=240)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    arguments = parse(parser)
    if arguments.once:
        print(json.dumps(once(arguments)))
        return
    log = Log(arguments.out)
    for number in range(arguments.rounds):
        for way in ("decoding", "bare", "local-1", "local-2", "ray-2"):
            for rows in (arguments.few, arguments.many):
                known = [
                    (row["variant"], row["rows"], row["seed"]) for row in log.rows if row["set"] == "speed"
                ]
                if (way, rows, number) not in known:
                    found = in_a_process(arguments, way, rows)
                    log.keep({"set": "speed", "variant": way, "seed": number, "rows": rows, **found})
    for rows in MEMORY_ROWS:
        if rows not in [row["rows"] for row in log.rows if row["set"] == "memory"]:
            found = in_a_process(arguments, "memory", rows)
            log.keep({"set": "memory", "variant": "driver", "seed": 0, "rows": rows, **found})
    result = figures(log.rows)
    write_results(arguments, {"figures": result, "runs": log.rows}, {"table.md": table(result)})


if __name__ == "__main__":
    main()
