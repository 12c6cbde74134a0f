"""What `patchebm score` costs beside the bare runtime: workers, Ray, memory of the driver, and models.

Each round measures, one after the other on the same images: the bare runtime in one process (reading a file
and scoring it), one worker, two workers, and two workers of Ray, on few and on many rows. What a row costs is
the slope between the two, so that starts do not count; the start is what remains. CPU seconds hardly depend
on what else the machine does, seconds do: the load is kept beside them, and how long a process alone waited.

The memory of the driver is measured in processes of their own, with manifests that name the same image again
and again and a model that says at once what it knows, so that a million rows take minutes: without workers,
with two processes, and with Ray.

`fleet train` is measured with two products, of fewer and of more of the same images, in the default preset,
on one thread. The slope between the two is what an image costs, and what remains is what any model costs.

`--whole N` scores N rows from beginning to end, with two processes and with Ray, beside what is computed from
the slopes.

All of it, which takes an hour or two on a quiet machine, most of it the memory and the fleet:

    python -m benchmarks.scale --model part.patchebm --images FOLDER

Then, on the same machine, the rows that are scored from beginning to end; at 25 ms an image 100,000 of them
take about 20 minutes with each engine. What is measured already is not measured again:

    python -m benchmarks.scale --model part.patchebm --images FOLDER --whole 100000

To try whether all of it works, in some minutes:

    python -m benchmarks.scale --model part.patchebm --images FOLDER --whole 40 --quick --out /tmp/scale
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from benchmarks.common import Log, options, parse, write_results
from benchmarks.scale.knowing import KnowingPredictor
from patchebm.device import available_threads
from patchebm.evaluation.summary import markdown
from patchebm.images.listing import list_images
from patchebm.images.photo import Photo
from patchebm.images.reading import read_image
from patchebm.line.measure import peak_memory_mb
from patchebm.runtime.bundle_predictor import BundlePredictor
from patchebm.scale.block import Done, Task
from patchebm.scale.engine import Engine
from patchebm.scale.local import LocalEngine
from patchebm.scale.model import open_model
from patchebm.scale.plan import Block
from patchebm.scale.score import begin, score
from patchebm.scale.source import open_source

HERE = Path(__file__).resolve().parent
SPEED = ("decoding", "bare", "local-1", "local-2", "ray-2")
WHOLE = ("local-2", "ray-2")
# The memory of the driver is measured so, on so many rows.
MEMORY_ROWS = {
    "driver": (10_000, 100_000, 1_000_000),
    "local-2": (10_000, 100_000, 1_000_000),
    "ray-2": (10_000, 100_000),
}
MEMORY_NAMES = {"driver": "no workers", "local-2": "two processes", "ray-2": "Ray, two workers"}
QUICK_MEMORY_ROWS = dict.fromkeys(MEMORY_ROWS, (200, 400))
# What 1,000 models cost is computed for so many images each.
MODEL_IMAGES = 200
# One process that takes more of the clock than of a processor by this share has waited for other work, and
# then seconds say nothing of the engines. The load of the machine is an average that lags by minutes.
WAITED = 0.1


def write_manifest(file: Path, images: list[Path], rows: int) -> Path:
    with file.open("w", encoding="utf-8") as text:
        text.write("path\n")
        text.writelines(f"{images[i % len(images)]}\n" for i in range(rows))
    return file


def cpu_seconds() -> float:
    """Returns what this process and the children that it has waited for have used."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    load, cpu, began = os.getloadavg()[0], cpu_seconds(), time.perf_counter()
    work()
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "cpu_seconds": round(cpu_seconds() - cpu, 3),
        "load": round(load, 1),
    }


def in_a_process(arguments: argparse.Namespace, what: str, rows: int) -> dict[str, Any]:
    """Measures in a process of its own, whose children are waited for when it ends."""
    command = [sys.executable, "-m", "benchmarks.scale", "--model", str(arguments.model)]
    command += ["--images", str(arguments.images), "--once", what, "--rows", str(rows)]
    command += ["--quick", "--out", str(arguments.out)] if arguments.quick else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def once(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures one thing."""
    images = list(list_images(arguments.images).images)
    if arguments.once == "fleet":
        return trained(images[: arguments.rows], quick=arguments.quick)
    predictor, sha256 = open_model(str(arguments.model))
    some = [images[i % len(images)] for i in range(arguments.rows)]
    if arguments.once == "decoding":
        return timed(lambda: [read_image(path, predictor.decoding_) for path in some])
    if arguments.once == "bare":
        return timed(lambda: list(predictor.outcomes(map(Photo, some), heat_maps=False)))
    way = arguments.once.removeprefix("memory-")
    is_memory = way != arguments.once
    scorer: BundlePredictor = KnowingPredictor(predictor) if is_memory else predictor
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_manifest(Path(folder) / "list.csv", images, arguments.rows)
        source, engine = open_source(str(manifest)), engine_of(way)
        found = timed(lambda: score(begin(source, scorer, sha256, f"{folder}/out"), engine))
    return found | ({"memory_mb": peak_memory_mb() or 0} if is_memory else {})


def engine_of(way: str) -> Engine:
    if way == "driver":
        return _Here()
    workers = int(way.rpartition("-")[2])
    if way.startswith("local"):
        return LocalEngine(workers)
    from patchebm.scale.ray_engine import RayEngine

    return RayEngine(workers)


class _Here:
    """An engine without workers: the memory of the driver is all that there is."""

    def score(self, task: Task, blocks: Iterable[Block]) -> Generator[Done, None, None]:
        for block in blocks:
            yield task.score(block)


def trained(images: Sequence[Path], *, quick: bool) -> dict[str, Any]:
    """Makes a model of a product by `fleet train`: checked, trained, exported."""
    from patchebm.cli.main import main as patchebm

    with tempfile.TemporaryDirectory() as folder:
        plant, out = Path(folder) / "plant", Path(folder) / "out"
        good = plant / "part" / "good"
        good.mkdir(parents=True)
        for number, image in enumerate(images):
            shutil.copy(image, good / f"{number:05}{image.suffix}")
        command = ["fleet", "train", str(plant), "--out", str(out), *(["--quick"] if quick else [])]
        # As many workers as there are threads, so that the product has one of them.
        command += ["--workers", str(available_threads())]

        def work() -> None:
            if patchebm(command):
                raise SystemExit(f"{' '.join(command)} failed")

        with redirect_stdout(sys.stderr):
            found = timed(work)
        line = json.loads((out / "part" / "result.json").read_text(encoding="utf-8"))
    # Copies among the images are trained on once.
    return found | {"images": line["images"]}


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


def whole_figures(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns what was measured from beginning to end, on the most rows that both engines have scored."""
    seconds = {(row["rows"], row["variant"]): row["seconds"] for row in rows}
    both = [count for count, _ in seconds if all((count, way) in seconds for way in WHOLE)]
    if not both:
        return None
    count = max(both)
    local, ray = (seconds[count, way] for way in WHOLE)
    loads = [row["load"] for row in rows if row["rows"] == count]
    return {
        "rows": count,
        "seconds": {"local-2": local, "ray-2": ray},
        "ray_overhead": round(ray / local - 1, 3),
        "load": [min(loads), max(loads)],
    }


def fleet_figures(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns what a model costs: what any does, and what each image adds."""
    if len(rows) < 2:
        return None
    ordered = sorted(rows, key=lambda row: int(row["images"]))
    few, many = ordered[0], ordered[-1]
    slope = max(0.0, (many["cpu_seconds"] - few["cpu_seconds"]) / (many["images"] - few["images"]))
    rest = max(0.0, few["cpu_seconds"] - slope * few["images"])
    return {
        "cpu_seconds": {str(row["images"]): row["cpu_seconds"] for row in ordered},
        "cpu_seconds_of_any_model": round(rest, 1),
        "cpu_seconds_of_an_image": round(slope, 3),
        "images_of_a_model": MODEL_IMAGES,
        "core_hours_for_1000_models": round(1000 * (rest + slope * MODEL_IMAGES) / 3600, 1),
        "core_hours_of_it_for_images": round(1000 * slope * MODEL_IMAGES / 3600, 1),
    }


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    speeds = [row for row in rows if row["set"] == "speed"]
    cpu = {way: per_row(speeds, way, "cpu_seconds")[0] for way in ("decoding", "bare", "local-1", "local-2")}
    wall = {way: per_row(speeds, way, "seconds") for way in ("bare", "local-1", "local-2", "ray-2")}
    alone = [row for row in speeds if row["variant"] in ("bare", "local-1")]
    memory: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["set"] == "memory":
            memory.setdefault(row["variant"], {})[str(row["rows"])] = row["memory_mb"]

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
        "whole": whole_figures([row for row in rows if row["set"] == "whole"]),
        "memory_mb": memory,
        "core_hours_for_10_million_images": round(1e7 * cpu["local-1"] / 3600, 1),
        "core_hours_of_it_for_decoding": round(1e7 * cpu["decoding"] / 3600, 1),
        "fleet": fleet_figures([row for row in rows if row["set"] == "fleet"]),
        "cores": available_threads(),
        "waited": round(max(row["seconds"] / row["cpu_seconds"] for row in alone) - 1, 3),
        "load": [min(row["load"] for row in speeds), max(row["load"] for row in speeds)],
    }


def table(found: dict[str, Any]) -> str:
    cpu, start = found["cpu_ms_per_image"], found["start_seconds"]
    busy = found["waited"] > WAITED
    untold = f"not to be told: a process alone waited for {found['waited']:.0%} of its time"
    lines = [
        ["CPU time of an image, bare runtime", f"{cpu['bare']} ms"],
        ["CPU time of an image, `score`", f"{cpu['local-1']} ms ({found['share_of_decoding']:.0%} decoding)"],
        ["Images a core-second against the bare runtime", f"{found['images_per_core_against_bare']:.2f}"],
        ["Two workers against one",
         untold if busy else f"{found['two_workers_against_one']:.2f} times as fast"],
        *(_whole_lines(found["whole"], found["cores"]) or [
            ["Time of Ray against processes, 100,000 images (computed)",
             untold if busy else f"{found['ray_overhead_at_100000']:+.1%}"]
        ]),
        ["Start of the engines, seconds",
         untold if busy else f"processes {start['local-2']}, Ray {start['ray-2']}"],
        *_memory_lines(found["memory_mb"]),
        ["10 million images (computed)", f"{found['core_hours_for_10_million_images']} core-hours, "
         f"{found['core_hours_of_it_for_decoding']} of them decoding"],
        *_fleet_lines(found["fleet"]),
        ["Time that a process alone waited for others, at most", f"{found['waited']:.1%}"],
    ]  # fmt: skip
    return markdown(["what", "measured"], lines)


def _whole_lines(whole: dict[str, Any] | None, cores: int) -> list[list[str]]:
    if whole is None:
        return []
    load, (local, ray) = whole["load"], whole["seconds"].values()
    told = (
        f"not to be told: load {load[0]} to {load[1]} on {cores} cores"
        if load[1] > 2 * cores
        else f"{whole['ray_overhead']:+.1%} (processes {local:.0f} s, Ray {ray:.0f} s)"
    )
    return [[f"Time of Ray against processes, {whole['rows']:,} images (measured)", told]]


def _memory_lines(memory: dict[str, dict[str, int]]) -> list[list[str]]:
    return [
        [
            f"Memory of the driver, {MEMORY_NAMES[way]}",
            ", ".join(f"{mb} MB at {int(rows):,} rows" for rows, mb in memory[way].items()),
        ]
        for way in MEMORY_NAMES
        if way in memory
    ]


def _fleet_lines(fleet: dict[str, Any] | None) -> list[list[str]]:
    if fleet is None:
        return []
    measured = ", ".join(f"{cpu:.0f} s with {count} images" for count, cpu in fleet["cpu_seconds"].items())
    return [
        ["CPU time of a model by `fleet train`", measured],
        [
            f"1,000 models of {fleet['images_of_a_model']} images (computed)",
            f"{fleet['core_hours_for_1000_models']} core-hours, {fleet['core_hours_of_it_for_images']} of "
            "them depend on the number of images",
        ],
    ]


def main() -> None:
    parser = options(HERE, __doc__)
    parser.add_argument("--model", type=Path, required=True, help="bundle")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument(
        "--train-on", nargs=2, type=int, default=(30, 75), metavar="N",
        help="images of the two products that models are made of (default: 30 75)",
    )  # fmt: skip
    parser.add_argument(
        "--whole",
        type=int,
        metavar="N",
        help="score N rows from beginning to end, with processes and with Ray",
    )
    parser.add_argument(
        "--quick", action="store_true", help="few rows and small models, to try the program; needs --out"
    )
    parser.add_argument("--once", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    arguments = parse(parser)
    if arguments.once:
        print(json.dumps(once(arguments)))
        return
    if arguments.quick:
        arguments.rounds, arguments.few, arguments.many, arguments.train_on = 1, 4, 12, (8, 16)
    there = len(list_images(arguments.images).images)
    if there < max(arguments.train_on):
        parser.error(f"--images has {there} images, and --train-on wants {max(arguments.train_on)}")
    log = Log(arguments.out)

    def measure(kind: str, variant: str, rows: int, what: str, number: int = 0) -> None:
        """Measures what is not in the log."""
        key = {"set": kind, "variant": variant, "seed": number, "rows": rows}
        if not any(key.items() <= row.items() for row in log.rows):
            log.keep(key | in_a_process(arguments, what, rows))

    for number in range(arguments.rounds):
        for way in SPEED:
            for rows in (arguments.few, arguments.many):
                measure("speed", way, rows, way, number)
    for way, counts in (QUICK_MEMORY_ROWS if arguments.quick else MEMORY_ROWS).items():
        for rows in counts:
            measure("memory", way, rows, f"memory-{way}")
    for rows in arguments.train_on:
        measure("fleet", "fleet train", rows, "fleet")
    if arguments.whole is not None:
        for way in WHOLE:
            measure("whole", way, arguments.whole, way)
    result = figures(log.rows)
    write_results(arguments, {"figures": result, "runs": log.rows}, {"table.md": table(result)})


if __name__ == "__main__":
    main()
