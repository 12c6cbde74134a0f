"""Whether the stated false-alarm rate holds for good parts like those trained on.

Four times a quarter of train/good is kept out of everything, the preset `features` is fitted and calibrated
on the rest, and scores that quarter: so each good image is scored once, by a detector that was not fitted on
it.
Quarters are drawn at random, images of a known part (groups.csv) in one piece, so that what is scored is
exchangeable with what was trained on: the kindest case there is. Test folders stay closed.

A quarter that is in log.jsonl is not fitted again. All of it takes about an hour of one core.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import SETS, Log, fitted, options, parse, shorten, write_results
from benchmarks.variants import FEATURES
from patchebm.evaluation import alarms
from patchebm.evaluation.summary import markdown
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.images.folds import assign_folds

HERE = Path(__file__).resolve().parent
QUARTERS = 4
RATES = (0.01, 0.05, 0.1)
VARIANT = "features"


def one_quarter(image_set: ImageSet, quarter: int, *, device: str, quick: bool) -> dict[str, Any]:
    """Returns how many images of a quarter are called anomalous by a detector of the others, at each rate."""
    images = image_set.train
    parts = [image.group or str(image.path) for image in images]
    folds = assign_folds(parts, QUARTERS, np.random.default_rng(0))
    training = [image for image, fold in zip(images, folds, strict=True) if fold != quarter]
    held_out = [image for image, fold in zip(images, folds, strict=True) if fold == quarter]
    config = FEATURES[VARIANT](quarter)
    detector = fitted(shorten(config) if quick else config, training, device)
    scores = detector.score([image.path for image in held_out])
    counts = [int(np.count_nonzero(scores > detector.tail_.threshold(rate).value)) for rate in RATES]
    return {
        "set": image_set.name,
        "variant": VARIANT,
        "seed": quarter,
        "scored": len(held_out),
        "parts": len({image.group or image.path for image in held_out}),
        "counts": dict(zip(map(str, RATES), counts, strict=True)),
    }


def summary(rows: list[dict[str, Any]], rate: float) -> dict[str, Any]:
    """Returns rates by set and pooled.

    Images of one part do not alarm independently, so that the interval is too narrow.
    """
    by_set = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        count = sum(row["counts"][str(rate)] for row in own)
        by_set[name] = alarms.observed([count], sum(row["scored"] for row in own), rate)
    return {"sets": by_set, "pooled": alarms.pooled(list(by_set.values()), rate)}


def table(found: dict[str, Any]) -> str:
    """Returns Markdown with a row for each stated rate."""
    names = list(found[str(RATES[0])]["sets"])
    rows = []
    for rate, facts in found.items():
        pool = facts["pooled"]
        shares = [f"{one['rate']:.3f} of {one['good']}" for one in (*facts["sets"].values(), pool)]
        low, high = pool["interval"]
        rows.append([rate, *shares, f"{low:.3f} to {high:.3f}"])
    return markdown(["stated", *names, "all", "95 % interval"], rows)


def main(argv: list[str] | None = None) -> None:
    arguments = parse(options(HERE, __doc__, sets=SETS, trains=True), argv)
    log = Log(arguments.out)
    for name, quarter in itertools.product(arguments.sets, range(QUARTERS)):
        if (name, VARIANT, quarter) in log.done:
            continue
        print(f"-- {name}, quarter {quarter + 1} of {QUARTERS}", file=sys.stderr)
        image_set = open_image_set(arguments.data / name)
        log.keep(one_quarter(image_set, quarter, device=arguments.device, quick=arguments.quick))
    rows = [row for row in log.rows if row["set"] in arguments.sets]
    found = {str(rate): summary(rows, rate) for rate in RATES}
    write_results(
        arguments,
        {"seeds": list(range(QUARTERS)), "rates": found, "runs": rows},
        {"table.md": table(found)},
    )


if __name__ == "__main__":
    main()
