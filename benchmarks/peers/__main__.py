"""patchebm against anomalib and the trivial controls: accuracy on six image sets, and cost side by side.

    make peers                                   # all of it, in the environment that `make peers-env` makes
    python -m benchmarks.peers run               # the same, from within that environment
    python -m benchmarks.peers run --only cost   # the timings alone, on a quiet machine

Each method has a process of its own. A run that is in log.jsonl is not repeated, so that a killed benchmark
goes on where it stopped, and what benchmarks/features and benchmarks/pixel have measured on the same splits
is read from their results. Everything is fitted on train/good alone; the test folders are scored once, after
the last step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.common import Log
from benchmarks.peers import tables
from benchmarks.peers.methods import METHODS
from patchebm.files import write_text
from patchebm.provenance import versions

HERE = Path(__file__).parent
SETS = ("bottle", "cubes", "solar_poly", "magnetic_tile", "circuitboard", "tire")
# Cheapest first. Those of patchebm's presets are read from the benchmarks that they are the subject of.
RUN = ("brightness", "contrast", "padim", "dfm", "dfkde", "gaussian", "patchcore", "ganomaly", "untrained")


def elsewhere() -> list[dict[str, Any]]:
    """Runs of other benchmarks on the same sets, as rows of this one's log."""
    rows = []
    for benchmark, variants in {
        "features": {"features": "ensemble"},
        "pixel": {"pixel-cpu": "ensemble", "image-baseline": "image", "untrained": "ensemble"},
    }.items():
        results = json.loads((HERE.parent / benchmark / "results.json").read_text())
        for run in results["runs"]:
            if run["variant"] not in variants:
                continue
            kept = {key: run[key] for key in ("set", "variant", "seed", "pixel_auroc", "aupro") if key in run}
            auroc = run["levels"][variants[run["variant"]]]
            rows.append({**kept, "image_auroc": auroc, "from": f"benchmarks/{benchmark}/results.json"})
    return rows


def run_all(log: Log, data: Path, sets: list[str], methods: list[str]) -> int:
    """Run what has no row yet, a process for each method. Returns how many runs failed."""
    done = log.done | {(row["set"], row["variant"], row["seed"]) for row in elsewhere()}
    failed = 0
    for method in methods:
        jobs = [(s, method, seed) for seed in range(METHODS[method].seeds) for s in sets]
        left = [f"{data / s}:{seed}" for s, _, seed in jobs if (s, method, seed) not in done]
        if not left:
            continue
        print(f"-- {METHODS[method].title}: {len(left)} runs", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.peers.worker", method, *left]
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["run"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PATCHEBM_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--methods", nargs="+", default=list(RUN), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--only", choices=["runs", "cost", "tables"], help="a part of the benchmark")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    log = Log(arguments.out)
    failed = 0
    if arguments.only in (None, "runs"):
        failed = run_all(log, arguments.data, arguments.sets, arguments.methods)
    if arguments.only in (None, "cost"):
        from benchmarks.peers import cost

        write_text(arguments.out / "cost.json", json.dumps(cost.measure(), indent=1) + "\n")
    if arguments.only != "runs":
        write_results(log.rows, arguments.out, arguments.sets)
    return int(failed > 0)


def write_results(rows: list[dict[str, Any]], out: Path, sets: list[str]) -> None:
    rows = sorted(rows + elsewhere(), key=lambda row: list(METHODS).index(row["variant"]))
    costs = json.loads((out / "cost.json").read_text()) if (out / "cost.json").exists() else None
    results = {
        "command": "python -m benchmarks.peers run",
        "versions": {**versions(), "anomalib": metadata.version("anomalib")},
        "runs": rows,
        "cost": costs,
    }
    write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
    text = tables.accuracy(rows, sets) + (tables.cost(costs) if costs else "")
    write_text(out / "table.md", text)
    print(text)


if __name__ == "__main__":
    sys.exit(main())
