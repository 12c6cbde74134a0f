"""What an exported model costs and whether it scores the same.

    python -m benchmarks.deploy                  # all of it
    python -m benchmarks.deploy --only latency   # a part, on a quiet machine; the others stay as they are

Run folders are trained where they are missing, bundles exported at every precision that this machine offers;
what export refuses is a row, too. A set that is done is not done again. Timings take turns, each contender in
a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import patchebm
from benchmarks.common import Log
from benchmarks.deploy import base, large, latency
from patchebm.cli.main import main as cli
from patchebm.config.schema import DEFAULT_PRESET
from patchebm.detector import EnsembleDetector
from patchebm.detector import load as load_run
from patchebm.errors import PatchebmError
from patchebm.evaluation.metrics import image_metrics
from patchebm.export.build import FORMATS, PRECISIONS, build_bundle
from patchebm.files import write_text
from patchebm.images.folders import open_image_set
from patchebm.provenance import versions

HERE = Path(__file__).parent
RUNS = HERE.parents[1] / "runs" / "deploy"
DATA = Path(os.environ.get("PATCHEBM_DATA", HERE.parents[2] / "shared" / "data"))
FAST = "features-fast"
PARTS = ["parity", "latency", "footprint", "verbs", "large"]
SETS = ["bottle", "tire", "magnetic_tile", "solar_poly", "circuitboard", "cubes"]


def exported(stem: str) -> dict[str, Path]:
    """The bundles of a run that are there, by format and precision: what parity refused is not."""
    files = {
        f"{form} {precision}": RUNS / f"{stem}-{form}-{precision}.patchebm"
        for form in FORMATS
        for precision in PRECISIONS
    }
    return {key: file for key, file in files.items() if file.exists()}


def bundles(
    name: str, preset: str = DEFAULT_PRESET
) -> tuple[EnsembleDetector, dict[str, Path], dict[str, str]]:
    """The detector of a set, its bundles by format and precision, and what was refused and why."""
    stem = stem_of(name, preset)
    run = RUNS / stem
    if not (run / "model.json").exists():
        cli(["train", str(DATA / name), "--preset", preset, "--out", str(run), "--overwrite"])
    detector = load_run(run)
    training = [image.path for image in open_image_set(DATA / name).train]
    files, refused = {}, {}
    for form in FORMATS:
        for precision in PRECISIONS:
            key = f"{form} {precision}"
            file = RUNS / f"{stem}-{form}-{precision}.patchebm"
            try:
                if not file.exists():
                    build_bundle(
                        detector,
                        verify=training[1::2],
                        training=training[::2],
                        form=form,
                        precision=precision,
                    ).write(file)
                files[key] = file
            except PatchebmError as error:
                refused[key] = str(error)
    return detector, files, refused


def stem_of(name: str, preset: str) -> str:
    """What a run folder and its bundles are called."""
    return name if preset == DEFAULT_PRESET else f"{name}-{preset}"


def to_time(name: str) -> dict[str, Path]:
    """The bundles of a set whose time is measured: of the default preset, and of the fast one."""
    files: dict[str, Path] = {}
    for preset in (DEFAULT_PRESET, FAST):
        stem = stem_of(name, preset)
        if not exported(stem):
            bundles(name, preset)
        ending = "" if preset == DEFAULT_PRESET else f", {preset}"
        files |= {f"{key}{ending}": file for key, file in exported(stem).items()}
    return files


def parity(name: str) -> list[dict[str, Any]]:
    """AUROC on the test images by PyTorch and by each bundle, score differences and verdict flips."""
    detector, files, refused = bundles(name)
    test = open_image_set(DATA / name).test
    labels = np.array([image.anomalous for image in test])
    paths = [image.path for image in test]
    reference = list(detector.iterate(paths, heat_maps=False))
    scores = np.array([p.score for p in reference])
    rows = [{"variant": "PyTorch", "image_auroc": image_metrics(labels, scores)["image_auroc"]}]
    for key, file in files.items():
        found = list(patchebm.load(file).iterate(paths, heat_maps=False))
        own = np.array([p.score for p in found])
        rows.append(
            {
                "variant": key,
                "image_auroc": image_metrics(labels, own)["image_auroc"],
                "score_difference": float(np.abs(own - scores).max()),
                "verdict_flips": sum(
                    a.anomalous != b.anomalous for a, b in zip(found, reference, strict=True)
                ),
            }
        )
    rows += [{"variant": key, "refused": why} for key, why in refused.items()]
    return [{"set": name, "seed": 0, "images": len(paths), **row} for row in rows]


def table(results: dict[str, Any]) -> str:
    """Markdown: parity on each set, then milliseconds."""
    lines = [
        "| set | variant | image AUROC | largest score difference | verdicts that differ |",
        "|---" * 5 + "|",
    ]
    refused: dict[str, list[str]] = {}
    for row in results["parity"]:
        if "refused" in row:
            refused.setdefault(row["variant"], []).append(row["set"])
        else:
            difference = f"{row['score_difference']:.2g}" if "score_difference" in row else ""
            flips = f"{row['verdict_flips']} of {row['images']}" if "verdict_flips" in row else ""
            lines.append(
                f"| {row['set']} | {row['variant']} | {row['image_auroc']:.4f} | {difference} | {flips} |"
            )
    if refused:
        told = ", ".join(f"{variant} on {len(sets)} sets" for variant, sets in refused.items())
        lines += ["", f"Refused by export, with the reason in the results: {told}."]
    lines = [
        "\n".join(lines),
        latency.table(results["latency"]),
        base.table(results["footprint"], results["verbs"]),
    ]
    return "\n".join([*lines, large.table(results["large"])])


def all_parities(log: Log, names: list[str]) -> list[dict[str, Any]]:
    done = {row["set"] for row in log.rows}
    for name in names:
        if name not in done:
            for row in parity(name):
                log.keep(row)
    return log.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure again")
    arguments = parser.parse_args()
    names, only = arguments.sets, arguments.only
    file = HERE / "results.json"
    results: dict[str, Any] = (
        json.loads(file.read_text()) if file.exists() and set(only) != set(PARTS) else {}
    )
    results |= {"command": "python -m benchmarks.deploy", "versions": versions()}
    first = names[0]
    images = [image.path for image in open_image_set(DATA / first).train]
    if "parity" in only:
        results["parity"] = all_parities(Log(HERE), names)
    if "latency" in only:
        results["latency"] = latency.measure(RUNS / first, to_time(first), images)
    venv = RUNS / "venv-base"
    if {"footprint", "verbs", "large"} & set(only):
        base.make_venv(venv)
    if "footprint" in only:
        results["footprint"] = base.footprint(venv, exported(first)["onnx f32"], images[0])
    if "verbs" in only:
        results["verbs"] = [
            base.verbs(venv, exported(n)["onnx f32"], DATA / n, RUNS / "verbs" / n) for n in names
        ]
    if "large" in only:
        results["large"] = large.measure(venv / "bin" / "python", DATA / "solar_poly", RUNS / "large")
    write_text(file, json.dumps(results, indent=1) + "\n")
    if all(part in results for part in PARTS):
        write_text(HERE / "table.md", table(results))
        print(table(results))


if __name__ == "__main__":
    main()
