"""What good parts score and show above the versions of the one good image that a model was fitted on.

`patchebm/detector/one_image.py` keeps the quantiles that this prints. Images are of train/good alone: one to
fit on and twelve to score, drawn by the seed. A run that is in the log is not repeated.

    python -m benchmarks.few.one_image
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.common import SETS, Log, fitted, options, parse
from benchmarks.few.__main__ import HERE, PRESET
from patchebm.config.presets import load_preset
from patchebm.detector.one_image import HEAT, SCORES
from patchebm.files import write_text
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.provenance import versions

SCORED = 12
# The rate of pixels at which maps are compared.
PIXELS = 0.001


def one_run(image_set: ImageSet, seed: int) -> dict[str, Any]:
    """Returns the scores of other images in deviations of the versions, and how hot maps are."""
    order = np.random.default_rng(seed).permutation(len(image_set.train))[: 1 + SCORED]
    first, *others = [image_set.train[i] for i in order]
    detector = fitted(load_preset(PRESET, {"seed": seed}), [first], "auto")
    found = detector.predict([image.path for image in others])
    # Back from the scale of what was guessed to that of the versions.
    scores = [one.score * np.std(SCORES, ddof=1) + np.mean(SCORES) for one in found]
    own = detector.calibration_.at_false_pixel_rate(PIXELS).pixels.value - HEAT
    hotter = [np.quantile(one.heat_map, 1 - PIXELS) - own for one in found if one.heat_map is not None]
    return {
        "set": image_set.name,
        "variant": PRESET,
        "seed": seed,
        "scores": [round(float(score), 2) for score in scores],
        "heat": round(float(np.median(hotter)), 2),
    }


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__, sets=SETS, seeds=(0, 1))
    arguments = parse(parser, argv)
    log = Log(arguments.out / "one_image")
    for name in arguments.sets:
        for seed in arguments.seeds:
            if (name, PRESET, seed) not in log.done:
                log.keep(one_run(open_image_set(arguments.data / name), seed))
    rows = [row for row in log.rows if row["set"] in arguments.sets]
    quantiles = np.quantile(np.concatenate([row["scores"] for row in rows]), np.arange(1, 20) / 20)
    results = {
        "command": "python -m benchmarks.few.one_image",
        "versions": versions(),
        "scores": [round(float(one), 1) for one in quantiles],
        "heat": round(float(np.median([row["heat"] for row in rows])), 1),
        "runs": rows,
    }
    write_text(arguments.out / "one_image.json", json.dumps(results, indent=1) + "\n")
    print(results["scores"], results["heat"])


if __name__ == "__main__":
    main()
