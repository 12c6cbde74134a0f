"""Whether exported models score as their detectors do, what they need without torch, and large images.

Parts: `parity`, each export against PyTorch on all test images; `footprint`, size, start and memory of a base
install; `verbs`, whether its `predict` and `watch` agree; `large`, memory for images of 8000 x 2000 px. What
export refuses is a row, too. How fast exported models are: `python -m benchmarks.cost`.

Run folders are trained where they are missing in --work. A set or part that is in log.jsonl is not measured
again. All of it takes about an hour of two cores.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

import patchebm
from benchmarks.common import HERE as BENCHMARKS
from benchmarks.common import SETS, Log, options, parse, write_results
from benchmarks.deploy import base, large
from patchebm.cli.main import main as cli
from patchebm.detector import EnsembleDetector
from patchebm.detector import load as load_run
from patchebm.errors import PatchebmError
from patchebm.evaluation.metrics import image_metrics
from patchebm.evaluation.summary import markdown
from patchebm.export.build import FORMATS, build_bundle
from patchebm.images.folders import open_image_set

HERE = Path(__file__).resolve().parent
WORK = BENCHMARKS.parent / "runs" / "deploy"
PARTS = ("parity", "footprint", "verbs", "large")
# Trained for a few steps with --quick.
QUICK = ["--position.network.training.steps", "5"]
FIRST = "onnx f32"
# int8 is decided in training: `python -m benchmarks.int8`.
PRECISIONS = ("f32", "bf16")


class Models:
    """Run folders and their bundles, made where they are missing.

    Args:
        work: folder that holds them.
        data: folder of image sets.
        options: of `patchebm train`.
    """

    def __init__(self, work: Path, data: Path, options: list[str]) -> None:
        self.work = work
        self._data = data
        self._options = options

    def detector(self, name: str) -> EnsembleDetector:
        """Returns the detector of a set."""
        run = self.work / name
        if not (run / "model.json").exists():
            cli(["train", str(self._data / name), "--out", str(run), "--overwrite", *self._options])
        return load_run(run, device="cpu")

    def bundle(self, name: str, key: str, detector: EnsembleDetector | None = None) -> Path:
        """Returns a bundle of a set by format and precision. Raises PatchebmError if export refuses it."""
        form, precision = key.split()
        file = self.work / f"{name}-{form}-{precision}.patchebm"
        if not file.exists():
            training = [image.path for image in open_image_set(self._data / name).train]
            build_bundle(
                detector or self.detector(name),
                verify=training,
                form=form,
                precision=precision,
            ).write(file)
        return file


def parity(models: Models, name: str, data: Path) -> list[dict[str, Any]]:
    """Returns AUROC on the test images by PyTorch and by each bundle, score differences and verdict flips."""
    detector = models.detector(name)
    test = [image for image in open_image_set(data / name).test if image.anomalous is not None]
    labels = np.array([bool(image.anomalous) for image in test])
    paths = [image.path for image in test]
    reference = list(detector.iterate(paths, heat_maps=False))
    scores = np.array([prediction.score for prediction in reference])
    rows = [{"variant": "PyTorch", "image_auroc": image_metrics(labels, scores)["image_auroc"]}]
    for key in (f"{form} {precision}" for form in FORMATS for precision in PRECISIONS):
        try:
            file = models.bundle(name, key, detector)
        except PatchebmError as error:
            rows.append({"variant": key, "refused": str(error)})
            continue
        found = list(patchebm.load(file).iterate(paths, heat_maps=False))
        own = np.array([prediction.score for prediction in found])
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
    return [{"set": name, "seed": 0, "images": len(paths), **row} for row in rows]


def parity_table(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown: parity on each set, and what was refused."""
    refused: dict[str, list[str]] = {}
    lines = []
    for row in rows:
        if "refused" in row:
            refused.setdefault(row["variant"], []).append(row["set"])
            continue
        difference = f"{row['score_difference']:.2g}" if "score_difference" in row else ""
        flips = f"{row['verdict_flips']} of {row['images']}" if "verdict_flips" in row else ""
        lines.append([row["set"], row["variant"], f"{row['image_auroc']:.4f}", difference, flips])
    head = ["set", "variant", "image AUROC", "largest score difference", "verdicts that differ"]
    text = markdown(head, lines)
    if refused:
        told = ", ".join(f"{variant} on {len(sets)} sets" for variant, sets in refused.items())
        text += f"\nRefused by export, with the reason in the results: {told}.\n"
    return text


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__, sets=SETS, trains=True)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    parser.add_argument("--work", type=Path, default=WORK, help=f"folder of models (default {WORK})")
    arguments = parse(parser, argv)
    settings = ["--device", arguments.device, *(QUICK if arguments.quick else [])]
    work = arguments.work.resolve()
    models = Models(work, arguments.data, settings)
    log = Log(arguments.out)
    first = arguments.sets[0]

    done = {(row["part"], row["set"]) for row in log.rows}
    wanted = [(part, name) for part in arguments.only for name in arguments.sets]
    # Of one set alone.
    left = [job for job in wanted if job not in done and (job[0] in ("parity", "verbs") or job[1] == first)]
    venv = work / "venv-base"
    if {part for part, _ in left} - {"parity"}:
        base.make_venv(venv)
    data: Path = arguments.data.resolve()
    for part, name in left:
        if part == "parity":
            found: Any = parity(models, name, data)
        elif part == "footprint":
            image = open_image_set(data / name).train[0].path
            found = base.footprint(venv, models.bundle(name, FIRST), image)
        elif part == "verbs":
            found = [base.verbs(venv, models.bundle(name, FIRST), data / name, work / "verbs" / name)]
        else:
            found = large.measure(venv / "bin" / "python", data / "solar_poly", work / "large")
        log.keep({"part": part, "set": name, "found": found})
    results: dict[str, Any] = {"seeds": [0]}
    for part in PARTS:
        rows = [row["found"] for row in log.rows if row["part"] == part]
        if rows:
            results[part] = rows[-1] if part in ("footprint", "large") else list(itertools.chain(*rows))
    tables = {"parity": parity_table, "footprint": base.footprint_table, "verbs": base.verbs_table}
    text = [make(results[part]) for part, make in {**tables, "large": large.table}.items() if part in results]
    write_results(arguments, results, {"table.md": "\n".join(text)})


if __name__ == "__main__":
    main()
