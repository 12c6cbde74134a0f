"""What chains look like at the start, in the middle and at the end of a training, and its curves.

The image sets may not be shown, so `thesis-small` is trained on the drawn flanges of the demo.

    python -m benchmarks.thesis.pictures     # writes into docs/assets, in a minute of one core
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.thesis.runs import CURVES, read_curves
from patchebm.config.presets import load_preset
from patchebm.files import replacing
from patchebm.images.folders import open_image_set
from patchebm_products import write_synthetic_set

ASSETS = Path(__file__).resolve().parents[2] / "docs" / "assets"
NAMES = {"distance": "distance of a pixel", "gradient_norm": "norm of dE/dx", "gap": "energy gap"}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.thesis.pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=60, help="of each level; default: 60")
    parser.add_argument("--out", type=Path, default=ASSETS, help=f"default: {ASSETS}")
    arguments = parser.parse_args(argv)
    from patchebm.detector import EnsembleDetector

    moments = {"start": 1, "middle": arguments.steps // 2, "end": arguments.steps}
    with tempfile.TemporaryDirectory() as temporary:
        image_set = open_image_set(
            write_synthetic_set(Path(temporary), "flange", train=60, test_good=1, per_defect=1)
        )
        paths = [image.path for image in image_set.train]
        runs = Path(temporary) / "run"
        config = load_preset("thesis-small")
        detector = EnsembleDetector(config, device="cpu")
        reading = detector.read(paths, len(paths))
        for moment, steps in moments.items():
            for name in config.levels:
                config.level(name).network.training.steps = steps
            levels = {name: detector.build_level(name, reading.inputs) for name in config.levels}
            # Goes on from the checkpoint of the moment before.
            detector.fit_reading(replace(reading, levels=levels), folder=runs)
            for name in config.levels:
                (picture,) = (runs / name).rglob("negatives.png")
                with replacing(arguments.out / f"chains-{name}-{moment}.png") as file:
                    shutil.copy(picture, file)
        draw_curves({name: read_curves(runs / name) for name in config.levels}, arguments.out / "chains.svg")
    return 0


def draw_curves(curves: dict[str, dict[int, dict[str, str]]], file: Path) -> None:
    """Draws distance, gradient norm and energy gap of each level over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, (key, column) in zip(figure.subplots(1, 3), CURVES.items(), strict=True):
        for name, points in curves.items():
            axes.plot(
                list(points), [float(point[column]) for point in points.values()], label=f"{name} level"
            )
        axes.set_title(NAMES[key])
        axes.set_xlabel("step")
    axes.legend()
    with replacing(file) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
