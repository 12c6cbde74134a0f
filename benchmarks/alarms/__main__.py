"""Whether the stated false-alarm rate holds for good parts like those trained on.

    python -m benchmarks.alarms     # writes log.jsonl as it goes, then results.json and table.md

Four times a quarter of train/good is kept out of everything, the detector is fitted and calibrated on the
rest, and judges that quarter: each good image is judged once, by a detector that never saw it. Quarters are
drawn at random, parts that are known (`groups.csv`) in one piece, so that what is judged is exchangeable with
what was trained on: the kindest case there is. Once calibration holds neighbours in file order out together,
as `features` does, once it draws its folds at random, which is the same where all parts are known. Test
folders stay closed.
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

from benchmarks.common import Log, preset
from patchebm.config.schema import Config
from patchebm.detector import EnsembleDetector
from patchebm.detector.folds import assign_folds
from patchebm.evaluation import alarms
from patchebm.files import write_text
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.provenance import versions

HERE = Path(__file__).parent
SETS = ("circuitboard", "bottle", "cubes", "solar_poly", "tire", "magnetic_tile")
QUARTERS = 4
RATES = (0.01, 0.05, 0.1)


def at_random(config: Config) -> None:
    config.calibration.consecutive = False


VARIANTS = {"neighbours together": preset("features"), "folds at random": preset("features", at_random)}


def one_quarter(image_set: ImageSet, variant: str, quarter: int) -> dict[str, Any]:
    """How many images of a quarter are called anomalous by a detector of the others, at each of `RATES`."""
    images = image_set.train
    parts = [p.group or str(p.path) for p in images]
    folds = assign_folds(parts, QUARTERS, np.random.default_rng(0))
    fitted = [p for p, fold in zip(images, folds, strict=True) if fold != quarter]
    judged = [p for p, fold in zip(images, folds, strict=True) if fold == quarter]
    detector = EnsembleDetector(VARIANTS[variant](quarter)).fit(
        [p.path for p in fitted], [p.group for p in fitted]
    )
    scores = detector.score([p.path for p in judged])
    counts = [int(np.count_nonzero(scores > detector.tail_.threshold(rate).value)) for rate in RATES]
    return {
        "set": image_set.name,
        "variant": variant,
        "seed": quarter,
        "judged": len(judged),
        "parts": len({p.group or p.path for p in judged}),
        "counts": dict(zip(map(str, RATES), counts, strict=True)),
    }


def summary(rows: list[dict[str, Any]], rate: float) -> dict[str, Any]:
    """Rates by set and pooled. Images of a part do not alarm independently: the interval is too narrow."""
    by_set = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        count = sum(row["counts"][str(rate)] for row in own)
        by_set[name] = alarms.observed([count], sum(row["judged"] for row in own), rate)
    return {"sets": by_set, "pooled": alarms.pooled(list(by_set.values()), rate)}


def table(found: dict[str, Any]) -> str:
    """Markdown: a row for each stated rate."""
    names = list(found["neighbours together"][str(RATES[0])]["sets"])
    lines = [
        f"| folds | stated | {' | '.join(names)} | all | 95 % interval |",
        "|---" * (len(names) + 4) + "|",
    ]
    for variant, by_rate in found.items():
        for rate, facts in by_rate.items():
            own = [facts["sets"][name] for name in names]
            cells = [f"{one['rate']:.3f} of {one['good']}" for one in own]
            pool = facts["pooled"]
            low, high = pool["interval"]
            cells += [f"{pool['rate']:.3f} of {pool['good']}", f"{low:.3f} to {high:.3f}"]
            lines.append(f"| {variant} | {rate} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PATCHEBM_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    arguments = parser.parse_args()
    log = Log(HERE)
    first = next(iter(VARIANTS))
    for name, variant, quarter in itertools.product(arguments.sets, VARIANTS, range(QUARTERS)):
        if (name, variant, quarter) in log.done:
            continue
        print(f"-- {name}, {variant}, quarter {quarter + 1} of {QUARTERS}", file=sys.stderr)
        image_set = open_image_set(arguments.data / name)
        if variant != first and all(p.group is not None for p in image_set.train):
            same = next(r for r in log.rows if (r["set"], r["variant"], r["seed"]) == (name, first, quarter))
            log.keep({**same, "variant": variant})
        else:
            log.keep(one_quarter(image_set, variant, quarter))
    rows = [row for row in log.rows if row["set"] in arguments.sets]
    found = {
        variant: {str(rate): summary([r for r in rows if r["variant"] == variant], rate) for rate in RATES}
        for variant in VARIANTS
    }
    results = {"command": "python -m benchmarks.alarms", "versions": versions(), "rates": found, "runs": rows}
    write_text(HERE / "results.json", json.dumps(results, indent=1) + "\n")
    write_text(HERE / "table.md", table(found))
    print(table(found))


if __name__ == "__main__":
    main()
