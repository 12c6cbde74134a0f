"""`patchebm train DATA --out RUN`: fit a detector on images of good parts."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from patchebm.cli.options import GROUPS_HELP, add_config, spelled, to_config
from patchebm.config.parser import Parser
from patchebm.config.schema import Config
from patchebm.images.folders import ImageSet, check_images, open_image_set
from patchebm.images.reading import read_image


def run(argv: Sequence[str]) -> None:
    """Train as the arguments say."""
    parser = Parser(prog="patchebm train", description=__doc__)
    parser.add_argument("data", help="folder in MVTec AD layout, or of good images")
    parser.add_argument("--out", required=True, help="folder for the model, checkpoints and logs")
    parser.add_argument("--groups", help=GROUPS_HELP)
    parser.add_argument(
        "--roi", help="mask of the region of interest: what is black in it is not looked at, and never alarms"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images out and list them")
    parser.add_argument("--overwrite", action="store_true", help="delete what another run left in --out")
    add_config(parser, argv)
    values = parser.parse(spelled(argv))
    config = to_config(values)
    image_set = open_image_set(values.data, groups=values.groups)
    train_run(
        config,
        image_set,
        Path(values.out),
        roi=values.roi,
        skip_bad=values.skip_bad,
        overwrite=values.overwrite,
        command=["patchebm", "train", *argv],
    )


def train_run(
    config: Config,
    image_set: ImageSet,
    out: Path,
    *,
    roi: str | None = None,
    skip_bad: bool = False,
    overwrite: bool = False,
    command: Sequence[str],
) -> None:
    """Train into a run folder, or go on with an interrupted run of the same configuration and images."""
    images, bad = check_images(image_set.train, skip_bad=skip_bad)
    for image, reason in bad:
        print(f"left out: {image.path}: {reason}", file=sys.stderr)

    groups = [image.group for image in images]
    region = None if roi is None else read_image(roi).max(axis=2) >= 0.5
    # Only now the heavy import: everything else that can be wrong with the input has been looked at.
    from patchebm.detector import EnsembleDetector
    from patchebm.run_folder import RunFolder

    EnsembleDetector(config).check(len(images), groups, region)
    run = RunFolder(out)
    if overwrite:
        run.clear()
    looked_at = [p.path for p in images] + ([] if roi is None else [Path(roi)])
    resumed = run.begin(config, looked_at, image_set.root)
    if resumed:
        print(f"{out} holds an interrupted run of this configuration: going on with it", file=sys.stderr)
    run.remember([p.path for p in images], image_set.root)
    began = time.perf_counter()
    detector = EnsembleDetector(config).fit([p.path for p in images], groups, run.training, region)
    seconds = time.perf_counter() - began
    card = run.finish(command=command, seconds=seconds, image_set=image_set, images=len(images))
    detector.save(out, card)
    run.drop_checkpoints()
    threshold = detector.threshold_
    print(
        f"trained on {len(images)} images of {image_set.name} in {seconds:.0f} s; scores above "
        f"{threshold.value:.2f} are anomalous ({threshold.describe()})"
    )
    order = detector.order_
    if order is not None and order.matters:
        print(
            f"note: {order.alike} of {order.images} images look most like one of the next three by file "
            f"name ({order.expected:.0f} would by chance). If such neighbours show one part or one moment, "
            "the false-alarm rate holds for more of the same: name parts with --groups, or add "
            "--calibration.consecutive true, which holds neighbours out together",
            file=sys.stderr,
        )
    print(f"model: {out}; next: patchebm evaluate {out} {image_set.root}")
