"""`patchebm watch` killed five times while images arrive, and its speed against the model's own.

First a camera writes images at the speed at which the model scores them, while the watcher is killed with
SIGKILL at random moments and started again. Then one watcher scores the same images without
interruption, and before and after it the model alone, from the same files on as many threads. Only the ratio
is to be compared between machines. What is in log.jsonl for the same options is not measured again.

    patchebm demo --out demo && patchebm export demo/runs/flange/features --out part.patchebm
    python -m benchmarks.watch --model part.patchebm

It takes about ten minutes, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import Log, options, parse, write_results
from benchmarks.watch.killing import Camera, tally, watch_and_kill, watch_command
from patchebm.line.measure import peak_memory_mb
from patchebm.loading import load
from patchebm_products import draw

HERE = Path(__file__).resolve().parent
SIDE = 256
# Images that differ; the camera writes them in turn.
DRAWN = 64


def image_files(seed: int) -> list[bytes]:
    contents = []
    for i in range(DRAWN):
        pixels = draw("flange", seed=seed, split="train/good", index=i, defect="good", size=SIDE)[0]
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="PNG")
        contents.append(stream.getvalue())
    return contents


def own_speed(model: Any, paths: Sequence[Path]) -> float:
    """Returns images per second of the model alone."""
    began = time.perf_counter()
    for _ in model.iterate(paths, heat_maps=False):
        pass
    return len(paths) / (time.perf_counter() - began)


def watched_speed(results: Path) -> float:
    """Returns images per second between the first and the last record: without loading and settling."""
    lines = results.read_text(encoding="utf-8").splitlines()
    first, last = (datetime.fromisoformat(json.loads(lines[i])["time"]) for i in (0, -1))
    return (len(lines) - 1) / (last - first).total_seconds()


def run_whole(command: list[str]) -> int:
    """Lets a watcher run to its end, and returns the most memory that it had, in MB."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = peak_memory_mb(process.pid) or peak
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"the watcher ended with {process.returncode}")
    return peak


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    contents = image_files(arguments.seed)
    samples = []
    for i, content in enumerate(contents):
        samples.append(folder / f"{i}.png")
        samples[-1].write_bytes(content)
    model = load(arguments.model)
    own_speed(model, samples)
    speed = own_speed(model, samples)
    camera = Camera(folder / "in", contents, arguments.files, pause=1 / speed, seed=arguments.seed)
    killed, whole = folder / "killed" / "results.jsonl", folder / "whole" / "results.jsonl"
    began = time.perf_counter()
    camera.start()
    at = watch_and_kill(
        watch_command(folder / "in", arguments.model, killed.parent),
        killed,
        camera,
        kills=arguments.kills,
        seed=arguments.seed,
        timeout=arguments.timeout,
    )
    seconds = time.perf_counter() - began
    facts: dict[str, Any] = {"killed_at": at, **tally(killed, camera.names), "seconds": round(seconds, 1)}
    paths = [folder / "in" / name for name in camera.names]
    own = [own_speed(model, paths[:1000])]
    command = watch_command(folder / "in", arguments.model, whole.parent, "--once")
    memory = run_whole(command)
    own.append(own_speed(model, paths[:1000]))
    watched = watched_speed(whole)
    facts["speed"] = {
        "watch_files_per_second": round(watched, 1),
        "model_files_per_second": [round(value, 1) for value in own],
        "ratio": round(watched / statistics.mean(own), 3),
    }
    facts["peak_memory_mb"] = memory
    facts["uninterrupted"] = tally(whole, camera.names)
    return facts


def table(facts: dict[str, Any]) -> str:
    speed = facts["speed"]
    return (
        "| files | killed | lost | scored twice | files/s, watch | files/s, model alone | ratio | memory |\n"
        "|---|---|---|---|---|---|---|---|\n"
        f"| {facts['files']} | {len(facts['killed_at'])} times | {facts['lost']} | {facts['twice']} "
        f"| {speed['watch_files_per_second']:.0f} | {statistics.mean(speed['model_files_per_second']):.0f} "
        f"| {speed['ratio']:.2f} | {facts['peak_memory_mb']} MB |\n"
    )


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__)
    parser.add_argument("--model", required=True, type=Path, help="bundle or run folder")
    parser.add_argument("--files", type=int, default=10_000, help="images that the camera writes")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds for the part with kills")
    arguments = parse(parser, argv)
    log = Log(arguments.out)
    settings = {
        "model": arguments.model.name,
        "side": SIDE,
        "files": arguments.files,
        "kills": arguments.kills,
        "seeds": [arguments.seed],
    }
    facts = next((row for row in log.rows if settings.items() <= row.items()), None)
    if facts is None:
        with tempfile.TemporaryDirectory(prefix="watch-") as folder:
            facts = {**measure(arguments, Path(folder)), **settings}
        log.keep(facts)
    write_results(arguments, facts, {"table.md": table(facts)})


if __name__ == "__main__":
    main()
