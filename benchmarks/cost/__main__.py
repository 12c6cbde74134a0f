"""What everything costs, in one run and side by side: an image, a fit, a start; memory and size.

Every method is fitted once on drawn images, in a process of its own, and the presets are exported. Then all
contenders score one image by turns, each in a process of its own, with one thread and with all cores, without
and with a map. Times are divided by that of the bare backbone in the same round.

anomalib's models need the environment that `make peers-env` makes; without it they are left out.

    python -m benchmarks.cost    # half an hour on two cores, on a machine that does nothing else

What is in log.jsonl is not measured again (the times of all contenders are one line): remove the log to
measure again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import HERE as BENCHMARKS
from benchmarks.common import Log, options, parse, write_results
from benchmarks.cost import starts, table
from benchmarks.cost.contenders import (
    BUNDLES,
    OURS,
    THEIRS,
    THREADS_OF_THEIRS,
    Contender,
    bare_of,
    bundle_file,
    listed,
)
from benchmarks.peers.methods import METHODS
from benchmarks.turns import Process
from patchebm.line.machine import hardware
from patchebm.provenance import versions
from patchebm_products import draw

HERE = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
WORK = ROOT / "runs" / "cost"
VISION = ROOT / ".venv-vision" / "bin" / "python"
PARTS = ("fits", "starts", "times")
SIZE, SEED = 256, 0
# Good images on which exported models are compared with their detectors.
VERIFY = 12
# Above this the machine does something else, too.
BUSY = 0.5


class Harness:
    """Measures part by part, and keeps each in the log.

    Args:
        log: of finished parts.
        work: folder of models, images and what processes complain of.
        vision: Python with anomalib; None if there is none.
        threads: that contenders are timed with.
    """

    def __init__(self, log: Log, work: Path, vision: Path | None, threads: Sequence[int]) -> None:
        self.log = log
        self.work = work
        self.vision = vision
        self.threads = list(threads)
        self.images = work / "images"
        self.errors = work / "errors.txt"

    def found(self, part: str) -> dict[str, Any]:
        """Returns what the log has of a part, by name."""
        return {row["name"]: row["found"] for row in self.log.rows if row["part"] == part}

    def draw(self, count: int) -> None:
        """Draws so many good images as PNG files."""
        self.images.mkdir(parents=True, exist_ok=True)
        for file in self.images.iterdir():
            file.unlink()
        for i in range(count):
            pixels, _ = draw("flange", seed=SEED, split="train/good", index=i, defect="good", size=SIZE)
            Image.fromarray(pixels).save(self.images / f"{i:03d}.png")

    def fit(self, name: str) -> None:
        """Fits a method, unless that was done."""
        if name in self.found("fit") and (self.work / name).is_dir():
            return
        print(f"-- fit {name}", file=sys.stderr, flush=True)
        theirs = METHODS[name].theirs
        threads = THREADS_OF_THEIRS if theirs else max(self.threads)
        arguments = (name, str(self.images), str(self.work / name), str(threads))
        with self._process("fit", arguments, theirs=theirs) as process:
            self.log.keep({"part": "fit", "name": name, "found": process.answer()})

    def export(self, preset: str, form: str, precision: str) -> None:
        """Exports a preset, unless that was done; a refusal is kept with its reason."""
        file, name = bundle_file(self.work, preset, form, precision), f"{preset} {form} {precision}"
        known = self.found("export").get(name)
        if known is not None and ("refused" in known or file.is_file()):
            return
        print(f"-- export {name}", file=sys.stderr, flush=True)
        verify = sorted(map(str, self.images.iterdir()))[:VERIFY]
        command = ["export", str(self.work / preset), "--out", str(file)]
        command += ["--format", form, "--precision", precision, "--verify", *verify]
        done = subprocess.run(
            [sys.executable, "-m", "patchebm.cli.main", *command], capture_output=True, text=True, check=False
        )
        complaint = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        result = {"refused": complaint} if done.returncode else {"bytes": file.stat().st_size}
        self.log.keep({"part": "export", "name": name, "found": result})

    def start(self) -> None:
        """Measures starts, unless that was done. Nothing else may run."""
        if self.found("starts"):
            return
        print("-- starts", file=sys.stderr, flush=True)
        bundle = bundle_file(self.work, OURS[0], "onnx", "f32")
        found = starts.measure(
            self.work / OURS[0], bundle if bundle.is_file() else None, self.images / "000.png"
        )
        self.log.keep({"part": "starts", "name": "starts", "found": found})

    def time(self, contenders: Sequence[Contender], rounds: int) -> None:
        """Times all contenders by turns, unless that was done."""
        if self.found("times"):
            return
        backbone = self.work / "backbone.onnx"
        if not backbone.exists():
            command = [sys.executable, "-m", "benchmarks.cost.backbone", str(backbone), str(SIZE)]
            subprocess.run(command, check=True)
        with ExitStack() as stack:
            running: dict[str, Process] = {}
            ready: dict[str, Any] = {}
            for one in contenders:
                print(f"-- open {one.title}", file=sys.stderr, flush=True)
                arguments = (one.kind, one.model, str(self.work), str(self.images / "000.png"))
                running[one.title] = stack.enter_context(self._process("clock", arguments, theirs=one.theirs))
                ready[one.title] = running[one.title].answer()
            rows: dict[str, dict[str, list[float]]] = {title: {} for title in running}
            for number in range(rounds):
                print(f"-- round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                for maps in (False, True):
                    for threads in self.threads:
                        # Every other round backwards: what drifts within a round does not favour the first.
                        for title in list(running) if number % 2 == 0 else reversed(running):
                            if maps and not ready[title]["maps"]:
                                continue
                            ms = running[title].ask({"threads": threads, "maps": maps})
                            rows[title].setdefault(table.setting(threads, maps), []).append(ms)
        found = {title: {"peak_mb": ready[title]["peak_mb"], "rounds": rows[title]} for title in running}
        self.log.keep({"part": "times", "name": "times", "found": found})

    def _process(self, module: str, arguments: Sequence[str], *, theirs: bool) -> Process:
        python = str(self.vision) if theirs else sys.executable
        command = [python, "-W", "ignore", "-m", f"benchmarks.cost.{module}", *arguments]
        # Pools of threads are as large as this says when they start; contenders then take what they are told.
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(max(self.threads)),
            "CUDA_VISIBLE_DEVICES": "",
            "TQDM_DISABLE": "1",
        }
        return Process(command, environment, self.errors)


def results_of(harness: Harness, contenders: Sequence[Contender], left_out: dict[str, str]) -> dict[str, Any]:
    """Returns what the log has, with ratios."""
    exports = harness.found("export")
    found: dict[str, Any] = {
        "fits": {METHODS[name].title: facts for name, facts in harness.found("fit").items()},
        "bundle_bytes": {name: facts["bytes"] for name, facts in exports.items() if "bytes" in facts},
        "left_out": left_out | {n: f["refused"] for n, f in exports.items() if "refused" in f},
        **harness.found("starts"),
    }
    measured = harness.found("times").get("times")
    if measured is not None:
        bare = bare_of(contenders)
        below = {
            one.title: measured[bare[one.group]]["rounds"] for one in contenders if one.title in measured
        }
        found["times"] = {
            one.title: {
                "name": one.name,
                "runtime": one.group,
                "peak_mb": measured[one.title]["peak_mb"],
                **table.summarised(measured[one.title]["rounds"], below[one.title]),
            }
            for one in contenders
            if one.title in measured
        }
        found["raw_ms"] = {title: own["rounds"] for title, own in measured.items()}
    return found


def packages() -> dict[str, str]:
    """Returns the versions of the runtimes."""
    return {name: metadata.version(name) for name in ("onnxruntime", "openvino") if find_spec(name)}


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__)
    names = [*OURS, *THEIRS]
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument(
        "--methods", nargs="+", choices=names, default=names, metavar="METHOD", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--images", type=int, default=200, help="that methods are fitted on (default 200)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (default 15)")
    parser.add_argument(
        "--vision", type=Path, default=VISION, help=f"Python with anomalib (default {VISION})"
    )
    parser.add_argument("--work", type=Path, default=WORK, help=f"folder of models (default {WORK})")
    arguments = parse(parser, argv)
    if OURS[0] not in arguments.methods:
        parser.error(f"--methods must name {OURS[0]}, which starts are measured with")
    # Not resolved: a virtual environment's Python is a link to another.
    vision = arguments.vision.absolute() if arguments.vision.exists() else None
    threads = sorted({1, max(1, int(hardware()["cores"]))})
    harness = Harness(Log(arguments.out), arguments.work.resolve(), vision, threads)
    why = f"there is no {arguments.vision}, which `make peers-env` makes"
    left_out = {
        METHODS[name].title: why for name in arguments.methods if METHODS[name].theirs and vision is None
    }
    methods = [name for name in arguments.methods if not METHODS[name].theirs or vision is not None]
    bundles = [bundle for bundle in BUNDLES if bundle[0] in methods]
    if find_spec("openvino") is None:
        left_out["openvino"] = "it is not installed"
        bundles = [bundle for bundle in bundles if bundle[1] != "openvino"]

    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"-- the machine is busy (load {load:.1f}): times are worth little", file=sys.stderr)
    if not harness.found("fit"):
        harness.draw(arguments.images)
    # The models are needed by every part.
    for name in methods:
        harness.fit(name)
    for bundle in bundles:
        harness.export(*bundle)
    exported = [bundle for bundle in bundles if bundle_file(harness.work, *bundle).is_file()]
    titles = {name: entry.title for name, entry in METHODS.items()}
    contenders = listed(harness.work, methods, exported, titles)
    if "starts" in arguments.parts:
        harness.start()
    if "times" in arguments.parts:
        harness.time(contenders, arguments.rounds)
    results = {
        "seeds": [SEED],
        "images": arguments.images,
        "size": SIZE,
        "rounds": arguments.rounds,
        "threads": threads,
        "machine": {**hardware(), "load_at_start": load},
        "versions": {**versions(), **packages()},
        **results_of(harness, contenders, left_out),
    }
    write_results(arguments, results, {"table.md": table.whole(results)})


if __name__ == "__main__":
    main()
