"""Whether defects among the training images are found, and whether clean sets are left in peace.

Clean: of a set, at most 40 training images at random, all of them good, are fitted, and those counted that
are named.
Mixed: two or four of 40 training images (or as many as there are) are replaced by defects at random from
the test folder, at random places in the order of the names. Then the detector is fitted as it is, and with
`--drop-outliers auto`; the other defects, and the good test images, are scored by both. Counted are defects
that are named, those that are left out, and those among as many of the oddest images as there are defects.
Neither `train` nor this program chooses anything by test images. `bottle` is scaled to 256 pixels, the others
are as they are.

A case that is in log.jsonl is not fitted again. A set takes about two minutes of one free core.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import Log, options, parse, shorten, write_results
from patchebm.config.presets import load_preset
from patchebm.detector import EnsembleDetector
from patchebm.detector.dropping import fit_dropping
from patchebm.detector.training_set import Reading
from patchebm.evaluation.summary import markdown
from patchebm.images.folders import ImageFile, ImageSet, open_image_set
from patchebm.images.reading import read_image

HERE = Path(__file__).resolve().parent
# The others are measured on request, by --sets.
SETS = ("bottle",)
SCALED = {"bottle": 256}
PRESET = "features-fast"
SEEDS = (0,)
IMAGES, TEST = 40, 60
DEFECTS = (2, 4)


def pixels(image: ImageFile, side: int | None) -> NDArray[np.float32]:
    """Returns an image, scaled to a square of some side."""
    found = read_image(image.path)
    if side is None:
        return found
    planes = [Image.fromarray(found[..., i]).resize((side, side), Image.Resampling.LANCZOS) for i in range(3)]
    return np.stack([np.asarray(plane) for plane in planes], axis=2).clip(0, 1)


def one_case(image_set: ImageSet, defects: int, seed: int, *, quick: bool) -> dict[str, Any]:
    """Returns what was named and left out of so many training images, some of them defects."""
    generator = random.Random(f"{image_set.name} {seed}")
    side = SCALED.get(image_set.name)
    chosen = sorted(
        generator.sample(image_set.train, min(IMAGES, len(image_set.train))), key=lambda p: p.path
    )
    bad = [image for image in image_set.test if image.anomalous]
    mixed = generator.sample(bad, defects)
    training = list(chosen[: len(chosen) - defects] if len(chosen) >= IMAGES else chosen)
    for image in mixed:
        training.insert(generator.randrange(len(training) + 1), image)
    config = load_preset(PRESET)
    detector = EnsembleDetector(shorten(config) if quick else config)
    reading = detector.read((pixels(image, side) for image in training), len(training))
    groups = [None if image.anomalous else image.group for image in training]
    held = [image for image in image_set.test if image not in mixed]
    test = [(image, pixels(image, side)) for image in generator.sample(held, min(TEST, len(held)))]
    is_defect = [bool(image.anomalous) for image in training]

    def tried(drop: str | None) -> dict[str, Any]:
        fresh = Reading(reading.inputs, detector.build_levels(reading.inputs), reading.kept, reading.images)
        dropping = fit_dropping(detector, fresh, groups, "auto" if drop else None, lambda _: None)
        named = [dropping.kept[i] for i in detector.held_out_.outliers().indices]
        gone = [one.index for one in dropping.left_out] if drop else named
        facts = {
            "found": sum(is_defect[i] for i in gone),
            "false": sum(not is_defect[i] for i in gone),
            "rounds": dropping.rounds,
            "oddest": sum(is_defect[dropping.kept[i]] for i in detector.held_out_.oddest(defects)),
        }
        if defects:
            anomalous = detector.score([array for _, array in test]) > detector.threshold_.value
            truth = np.array([bool(image.anomalous) for image, _ in test])
            facts |= {"missed": int((truth & ~anomalous).sum()), "alarms": int((~truth & anomalous).sum())}
        return facts

    as_it_is = tried(None)
    found_any = as_it_is["found"] + as_it_is["false"]
    return {
        "set": image_set.name,
        "variant": f"{defects} of {len(training)}",
        "seed": seed,
        "defects": defects,
        "images": len(training),
        "test_defects": sum(bool(image.anomalous) for image, _ in test),
        "test_good": sum(not image.anomalous for image, _ in test),
        "as_it_is": as_it_is,
        # Where nothing is named, nothing is left out.
        "auto": tried("auto") if found_any else as_it_is,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns Markdown with what was found, and what was missed before and after."""
    cells = []
    for row in rows:
        before, after = row["as_it_is"], row["auto"]
        figures = [row["variant"], before["oddest"], before["found"], before["false"]]
        figures += [after["found"], after["false"]]
        missed, alarms = ["–", "–"], "–"
        if row["defects"]:
            missed = [f"{facts['missed']} of {row['test_defects']}" for facts in (before, after)]
            alarms = f"{before['alarms']}, {after['alarms']} of {row['test_good']}"
        cells.append([row["set"], *map(str, figures), *missed, alarms])
    header = ["set", "defects mixed in", "of these the oddest", "defects named", "good named"]
    header += ["defects left out", "good left out", "missed as it is", "missed with auto"]
    header += ["false alarms before, after"]
    return markdown(header, cells)


def main(argv: list[str] | None = None) -> None:
    arguments = parse(options(HERE, __doc__, sets=SETS, seeds=SEEDS, trains=True), argv)
    log = Log(arguments.out)
    cases = list(itertools.product(arguments.sets, (0, *DEFECTS), arguments.seeds))
    for name, defects, seed in cases:
        image_set = open_image_set(arguments.data / name)
        few = len(image_set.train)
        count = min(IMAGES, few) if few >= IMAGES or not defects else few + defects
        if (name, f"{defects} of {count}", seed) not in log.done:
            log.keep(one_case(image_set, defects, seed, quick=arguments.quick))
    rows = [row for row in log.rows if row["set"] in arguments.sets and row["seed"] in arguments.seeds]
    rows.sort(key=lambda row: (arguments.sets.index(row["set"]), row["seed"], row["defects"], row["images"]))
    results = {"seeds": arguments.seeds, "preset": PRESET, "runs": rows}
    write_results(arguments, results, {"table.md": table(rows)})


if __name__ == "__main__":
    main()
