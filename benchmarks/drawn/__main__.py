"""Presets compared by faint defects drawn on good pictures that were held out.

    python -m benchmarks.drawn     # writes log.jsonl as it goes, then results.json and table.md

A quarter of train/good, parts that are known in one piece, is kept out of everything; scratches, cracks,
stains and holes are drawn on its pictures at `CONTRAST`, and the detector, fitted on the rest, is to tell
them from the pictures as they were. That compares settings without a look at a test folder. These defects
are local, which the image level is not for: what it loses hardly shows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Log, preset
from patchebm.data.folders import ImageSet, open_image_set
from patchebm.data.images import read_image
from patchebm.data.synthetic.canvas import Drawing
from patchebm.data.synthetic.defects import LOCAL
from patchebm.data.views import resize, to_tensor
from patchebm.detector import EnsembleDetector
from patchebm.evaluation.metrics import image_metrics, pixel_metrics
from patchebm.evaluation.summary import Columns, summarise, table
from patchebm.files import write_text
from patchebm.provenance import versions

HERE = Path(__file__).parent
SETS = ("bottle", "cubes", "solar_poly", "magnetic_tile", "circuitboard", "tire")
SPLITS = (0, 1)
# Pictures of a set that are fitted on, so that large sets take no longer than the others, and drawn on.
MOST_FITTED, MOST_DRAWN = 200, 40
SIDE = 256
# As they are drawn for the built-in data set, nearly all of them would be found by any setting.
CONTRAST = 0.3

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]


VARIANTS = {name: preset(name) for name in ("features", "features-fast")}


def drawn(picture: Picture, seed: tuple[int, int]) -> list[tuple[Picture, Mask]]:
    """The picture `(n, n, 3)` with each kind of defect, and where it is."""
    nowhere = np.zeros(picture.shape[:2], dtype=bool)
    found = []
    for kind, draw in enumerate(LOCAL.values()):
        part = Drawing(rgb=picture.copy(), part=~nowhere, support=nowhere)
        changed, mask = draw(np.random.default_rng((*seed, kind)), part)
        faint = (picture + CONTRAST * (changed - picture)).clip(0, 1)
        found.append((faint.astype(np.float32), mask))
    return found


def split_of(image_set: ImageSet, seed: int) -> tuple[list[Any], list[Any]]:
    """What is fitted on, in its order, and what is drawn on."""
    pictures = image_set.train
    parts = [p.group or str(p.path) for p in pictures]
    rng = np.random.default_rng(seed)
    order = rng.permutation(sorted(set(parts)))
    held = set(order[: max(3, len(order) // 4)])
    kept = [i for i, part in enumerate(parts) if part not in held]
    chosen = sorted(rng.permutation(kept)[:MOST_FITTED])
    rest = rng.permutation([i for i, part in enumerate(parts) if part in held])[:MOST_DRAWN]
    return [pictures[i] for i in chosen], [pictures[i] for i in rest]


def one_run(image_set: ImageSet, variant: str, split: int) -> dict[str, Any]:
    fitted, judged = split_of(image_set, split)
    detector = EnsembleDetector(VARIANTS[variant](split)).fit(
        [p.path for p in fitted], [p.group for p in fitted]
    )
    pictures: list[Picture] = []
    masks: list[Mask] = []
    labels: list[bool] = []
    for number, one in enumerate(judged):
        resized = resize(to_tensor(read_image(one.path), 3), (SIDE, SIDE))
        good = (resized.permute(1, 2, 0) / 2 + 0.5).clamp(0, 1).numpy()
        cases = [(good, np.zeros((SIDE, SIDE), dtype=bool)), *drawn(good, (split, number))]
        pictures += [picture for picture, _ in cases]
        masks += [mask for _, mask in cases]
        labels += [False] + [True] * (len(cases) - 1)
    found = detector.predict(pictures)
    known = np.array(labels)
    by_level = {name: [one.levels[name] for one in found] for name in detector.levels_}
    by_level["ensemble"] = [one.score for one in found]
    maps = [one.heat_map for one in found if one.heat_map is not None]
    return {
        "set": image_set.name,
        "variant": variant,
        "seed": split,
        "pictures": len(judged),
        "levels": {name: image_metrics(known, np.array(s))["image_auroc"] for name, s in by_level.items()},
        "pixel_auroc": pixel_metrics(maps, masks)["pixel_auroc"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PATCHEBM_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    arguments = parser.parse_args()
    log = Log(HERE)
    for split, name, variant in itertools.product(SPLITS, arguments.sets, VARIANTS):
        if (name, variant, split) not in log.done:
            print(f"-- {name}, {variant}, split {split}", file=sys.stderr)
            log.keep(one_run(open_image_set(arguments.data / name), variant, split))
    rows = [row for row in log.rows if row["set"] in arguments.sets]
    images: Columns = {}
    pixels: Columns = {}
    for row in rows:
        for level, value in row["levels"].items():
            name = f"{row['variant']}: {level}"
            images.setdefault(name, {}).setdefault(row["set"], {})[row["seed"]] = value
        pixels.setdefault(row["variant"], {}).setdefault(row["set"], {})[row["seed"]] = row["pixel_auroc"]
    summaries = {
        "image AUROC": summarise(images, arguments.sets),
        "pixel AUROC": summarise(pixels, arguments.sets),
    }
    results = {"command": "python -m benchmarks.drawn", "versions": versions(), **summaries, "runs": rows}
    write_text(HERE / "results.json", json.dumps(results, indent=1) + "\n")
    text = "\n".join(table(facts, arguments.sets, title) for title, facts in summaries.items())
    write_text(HERE / "table.md", text)
    print(text)


if __name__ == "__main__":
    main()
