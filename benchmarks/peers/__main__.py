"""patchebm beside anomalib's models and trivial controls: accuracy on the same splits.

It needs the environment that `make peers-env` makes; `make peers` runs it there. Each method has a process of
its own. A run that is in log.jsonl, or in the results beside it, is not repeated, so that a killed benchmark
goes on where it stopped, and what benchmarks/features and benchmarks/pixel have measured on the same splits
is read from their committed results. Everything is fitted on train/good alone; the test folders are scored
once, after the last step. What the methods cost: `python -m benchmarks.cost`.

All of it takes about nine hours of one core on six sets.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.common import SETS, Log, options, parse, runs_of, write_results
from benchmarks.peers import tables
from benchmarks.peers.methods import METHODS
from benchmarks.peers.published import beside_ours
from patchebm.provenance import versions

HERE = Path(__file__).resolve().parent
# Cheapest first. Those of patchebm's presets are read from the benchmarks that they are the subject of.
RUN = (
    *("brightness", "contrast", "padim", "dfm", "dfkde", "gaussian", "patchcore", "mh-patchcore", "ganomaly"),
    *("untrained", "supersimplenet", "glass"),
)
# Benchmark and variant there, and which of its levels stands here; None for the whole detector.
ELSEWHERE = {
    "features": {"features": None, "features-fast": None},
    "pixel": {"pixel-cpu": "ensemble", "image-baseline": "image", "untrained": "ensemble"},
}


def elsewhere() -> list[dict[str, Any]]:
    """Returns the runs of other benchmarks on the same sets, as rows of this one's log."""
    rows = []
    for benchmark, variants in ELSEWHERE.items():
        runs, file = runs_of(benchmark)
        for run in runs:
            if run["variant"] in variants:
                keys = ("set", "variant", "seed", *(metric.name for metric in tables.PIXEL_METRICS))
                kept = {key: run[key] for key in keys if key in run}
                level = variants[run["variant"]]
                auroc = run["image_auroc"] if level is None else run["levels"][level]
                rows.append({**kept, "image_auroc": auroc, "from": file})
    return rows


def run_all(log: Log, data: Path, sets: list[str], methods: list[str], seeds: list[int]) -> int:
    """Runs what has no row yet, a process for each method, and returns how many runs failed."""
    done = log.done | {(row["set"], row["variant"], row["seed"]) for row in elsewhere()}
    failed = 0
    for method in methods:
        # A method that draws nothing has one seed.
        own = seeds[: METHODS[method].seeds]
        jobs = [(s, method, seed) for seed in own for s in sets]
        left = [f"{data / s}:{seed}" for s, _, seed in jobs if (s, method, seed) not in done]
        if not left:
            continue
        print(f"-- {METHODS[method].title}: {len(left)} runs", file=sys.stderr, flush=True)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.peers.worker", method, *left]
        answered = 0
        with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as worker:
            assert worker.stdout
            for line in worker.stdout:
                row = json.loads(line)
                if "failed" not in row:
                    log.keep(row)
                    answered += 1
        failed += len(left) - answered
    return failed


def main(argv: list[str] | None = None) -> int:
    parser = options(HERE, __doc__, sets=SETS, seeds=(0, 1, 2))
    parser.add_argument(
        "--methods",
        nargs="*",
        default=list(RUN),
        choices=list(METHODS),
        metavar="METHOD",
        help=f"of {', '.join(METHODS)}; none makes the tables alone (default: {' '.join(RUN)})",
    )
    arguments = parse(parser, argv)
    log = Log(arguments.out)
    log.restore(("set", "variant", "seed"))
    failed = run_all(log, arguments.data, arguments.sets, arguments.methods, arguments.seeds)
    rows = sorted(log.rows + elsewhere(), key=lambda row: list(METHODS).index(row["variant"]))
    packages = {**versions(), "anomalib": metadata.version("anomalib")}
    results = {"versions": packages, "seeds": arguments.seeds, "runs": rows}
    write_results(
        arguments,
        results,
        {"table.md": tables.accuracy(rows, arguments.sets), "published.md": beside_ours(rows)},
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
