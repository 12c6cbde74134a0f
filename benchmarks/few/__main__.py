"""Few good images: what a model finds, and how its threshold holds, by the number of images.

The images of a seed are the first so many of one random order of train/good, so that more images contain
the fewer. The preset is features-fast, Gaussians alone. At most 60 good and 60 defective test images are
scored, the same ones by every model. A run that is in log.jsonl or in the committed results.json is not
repeated; a set of which runs are missing stands in the tables with what there is.

All of it takes some hours of one core (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common import SETS, Log, fitted, options, parse, write_results
from patchebm.config.presets import load_preset
from patchebm.detector import EnsembleDetector
from patchebm.detector.level import Level
from patchebm.detector.weights import separation
from patchebm.evaluation.summary import Columns, summarise, table
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.framing import Framing
from patchebm.images.folders import ImageFile, ImageSet, open_image_set
from patchebm.images.reading import read_image

HERE = Path(__file__).resolve().parent
PRESET = "features-fast"
COUNTS = ("1", "2", "4", "8", "16", "20", "all")
# Test images of each truth, at most.
SCORED = 60
STATED = 0.05
FIGURES = {
    "auroc": "image AUROC",
    "alarms": "alarms at a stated 0.05",
    "missed": "defects missed there",
    "alarms_shown": "alarms at the rate shown",
    "missed_shown": "defects missed there",
}


class TestMaps:
    """The joined maps of a set's test images, kept for models that frame images alike.

    Args:
        image_set: whose test images they are.
    """

    def __init__(self, image_set: ImageSet) -> None:
        self.images = {truth: _some(image_set, truth) for truth in (False, True)}
        self._kept: dict[Framing, dict[bool, list[Tensor]]] = {}

    def scores(self, detector: EnsembleDetector) -> list[NDArray[np.float64]]:
        """Returns the scores of good and of defective images, from maps in half precision."""
        scorer, (level,) = detector.scorer_, detector.levels_.values()
        inputs = scorer.inputs
        assert isinstance(inputs, FeatureExtractor)
        if inputs.framing not in self._kept:
            self._kept[inputs.framing] = {
                truth: [_map(level, inputs, image.path) for image in own]
                for truth, own in self.images.items()
            }
        found = []
        for maps in self._kept[inputs.framing].values():
            evidence = [level.held_out_on_cpu(one, inputs.device) for one in maps]
            scores = [scorer.ensemble(level.score(one)[:, None]) for one in evidence]
            found.append(torch.cat(scores).double().numpy())
        return found


def _map(level: Level, inputs: FeatureExtractor, path: Path) -> Tensor:
    with torch.no_grad():
        pixels = torch.from_numpy(read_image(path))[None]
        return level.held_out_view(inputs.join(inputs(inputs.prepare(pixels)))[0])


def one_run(image_set: ImageSet, test: TestMaps, count: str, seed: int) -> dict[str, Any]:
    """Returns the figures of a model of so many images."""
    order = np.random.default_rng(seed).permutation(len(image_set.train))
    chosen = sorted(order if count == "all" else order[: int(count)])
    config = load_preset(PRESET, {"seed": seed, "false_alarm_rate": STATED})
    began = time.perf_counter()
    detector = fitted(config, [image_set.train[i] for i in chosen], "cpu")
    seconds = time.perf_counter() - began
    good, bad = test.scores(detector)
    threshold = detector.threshold_
    # What so many images can show, if that is more.
    rate = max(STATED, detector.tail_.supported_rate)
    shown = detector.tail_.threshold(rate).value

    return {
        "set": image_set.name,
        "variant": count,
        "seed": seed,
        "images": len(chosen),
        "auroc": separation(good, bad),
        "alarms": float((good > threshold.value).mean()),
        "missed": float((bad <= threshold.value).mean()),
        "rate_shown": rate,
        "alarms_shown": float((good > shown).mean()),
        "missed_shown": float((bad <= shown).mean()),
        "good": len(good),
        "defective": len(bad),
        "threshold": threshold.describe(),
        "turned": detector.variations_ is not None and detector.variations_.turned,
        "fit_seconds": round(seconds, 1),
    }


def _some(image_set: ImageSet, anomalous: bool) -> list[ImageFile]:
    """Returns at most so many of the test images of one truth."""
    images = [image for image in image_set.test if image.anomalous is anomalous]
    order = np.random.default_rng(int(anomalous)).permutation(len(images))
    return [images[i] for i in order[:SCORED]]


def run_all(log: Log, arguments: argparse.Namespace) -> None:
    """Measures what is not in the log."""
    for name in arguments.sets:
        image_set = open_image_set(arguments.data / name)
        test = TestMaps(image_set)
        for seed in arguments.seeds:
            for count in arguments.counts:
                # All there are is measured once.
                enough = count == "all" or int(count) < len(image_set.train)
                if not enough or (name, count, seed) in log.done:
                    continue
                print(f"-- {name}, {count} images, seed {seed}", file=sys.stderr)
                log.keep(one_run(image_set, test, count, seed))


def columns(rows: list[dict[str, Any]], figure: str) -> Columns:
    """Returns a figure by seed for each set, for each number of images."""
    found: Columns = {count: {} for count in COUNTS}
    for row in rows:
        found[row["variant"]].setdefault(row["set"], {})[row["seed"]] = row[figure]
    return {count: by_set for count, by_set in found.items() if by_set}


def text(rows: list[dict[str, Any]], wanted: list[str]) -> tuple[dict[str, Any], str]:
    """Returns the summaries by figure, and Markdown with a table of each."""
    sets = [name for name in wanted if any(row["set"] == name for row in rows)]
    found, parts = {}, []
    for figure, title in FIGURES.items():
        found[figure] = summarise(columns(rows, figure), sets, partial=True)
        parts.append(
            table(found[figure], sets, f"{title}, good images", digits=2 if figure != "auroc" else 3)
        )
    missing = [name for name in wanted if name not in sets]
    seeds = ", ".join(f"{name} {len({row['seed'] for row in rows if row['set'] == name})}" for name in sets)
    words = f"Seeds: {seeds}. Means are over the sets and seeds that all rows of a table have."
    if missing:
        words += f" Not measured: {', '.join(missing)}."
    return found, "\n".join(parts) + f"\n{words}\n"


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__, sets=SETS, seeds=(0, 1, 2))
    parser.add_argument(
        "--counts",
        nargs="*",
        default=list(COUNTS),
        choices=COUNTS,
        metavar="COUNT",
        help=f"of {', '.join(COUNTS)}; none makes the tables alone",
    )
    arguments = parse(parser, argv)
    log = Log(arguments.out)
    log.restore(("set", "variant", "seed"))
    run_all(log, arguments)
    found, words = text(log.rows, list(arguments.sets))
    write_results(arguments, {"seeds": arguments.seeds, **found, "runs": log.rows}, {"table.md": words})


if __name__ == "__main__":
    main()
