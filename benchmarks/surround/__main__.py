"""What is found around the box that is inspected, and how often good images alarm by it.

Nothing is trained but the Gaussians of thumbnails (`patchebm.detector.surround`). Sets that `features` cuts
are measured around their own box; all sets, too, around a box that is forced upon the middle half of each
side, so that much of the part itself lies outside: that is harder than what a crop leaves out.

Counted are good test images, and the same images with a square of one random colour at a random place that
lies outside of the box, that reach 1.64, which 5 in 100 of a normal distribution do. A model's own threshold
lies near it. No choice was made by these images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import SETS, options, parse, write_results
from patchebm.config.features import ExtractorConfig
from patchebm.detector.surround import Surround
from patchebm.evaluation.summary import markdown
from patchebm.features.framing import STEPS, Framing
from patchebm.images.folders import open_image_set
from patchebm.images.reading import read_image

HERE = Path(__file__).resolve().parent
MIDDLE = (16, 48, 16, 48)
LIMIT = 1.64
# Sides of the squares, as shares of the image's shorter side.
SIDES = (0.02, 0.04, 0.08)
SURVEYED = 64


def with_square(
    image: NDArray[np.float32], box: tuple[int, int, int, int], share: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Returns an image with a square of a random colour that does not touch the box."""
    height, width = image.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, bottom = height * box[0] // STEPS, -(-height * box[1] // STEPS)
    left, right = width * box[2] // STEPS, -(-width * box[3] // STEPS)
    while True:
        y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        if y + side <= top or y >= bottom or x + side <= left or x >= right:
            break
    changed = image.copy()
    changed[y : y + side, x : x + side] = rng.random(image.shape[2], dtype=np.float32)
    return changed


def measured(
    training: Sequence[Path], good: Sequence[Path], box: tuple[int, int, int, int]
) -> dict[str, Any]:
    """Returns how many good images, and images with a square, reach the limit."""
    surround = Surround(box)

    def thumbnail(image: NDArray[np.float32]) -> torch.Tensor:
        return Surround.thumbnails(torch.from_numpy(image)[None])

    small = torch.cat([thumbnail(read_image(path)) for path in training])
    surround.learn(small, [str(path) for path in training])

    def alarms(image: NDArray[np.float32]) -> bool:
        return bool(surround(thumbnail(image)).score[0] > LIMIT)

    rng = np.random.default_rng(0)
    images = [read_image(path) for path in good]
    return {
        "good": len(images),
        "alarms": sum(map(alarms, images)),
        "found": [sum(alarms(with_square(image, box, side, rng)) for image in images) for side in SIDES],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The table of the documentation."""
    return markdown(
        ["set", "box", "good images", "of these alarm", *(f"square of {100 * s:g} % found" for s in SIDES)],
        [
            [
                row["set"],
                row["box"],
                str(row["good"]),
                str(row["alarms"]),
                *(f"{100 * found / row['good']:.0f} %" for found in row["found"]),
            ]
            for row in rows
        ],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, and writes `results.json` and `table.md`."""
    arguments = parse(options(HERE, __doc__, sets=SETS), argv)
    rows = []
    for name in arguments.sets:
        image_set = open_image_set(arguments.data / name)
        training = [image.path for image in image_set.train]
        good = [image.path for image in image_set.test if not image.anomalous]
        spread = np.linspace(0, len(training) - 1, min(SURVEYED, len(training))).round().astype(int)
        framing = Framing.learn((read_image(training[i]) for i in spread), ExtractorConfig(), crop=True)
        boxes = (
            {"of the middle": MIDDLE} if framing.whole else {"its own": framing.box, "of the middle": MIDDLE}
        )
        for label, box in boxes.items():
            rows.append({"set": name, "box": label, **measured(training, good, box)})
            print(rows[-1], flush=True)
    write_results(arguments, {"rows": rows}, {"table.md": table(rows)})


if __name__ == "__main__":
    main()
