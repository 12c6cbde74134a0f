"""`patchebm train DATA --out RUN`: fit a detector on pictures of good parts."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from patchebm.cli.options import GROUPS_HELP, add_config, spelled, to_config
from patchebm.config import Config
from patchebm.config_parser import Parser
from patchebm.data.folders import ImageSet, check_pictures, open_image_set
from patchebm.data.images import read_image


def run(argv: Sequence[str]) -> None:
    """Train as the arguments say."""
    parser = Parser(prog="patchebm train", description=__doc__)
    parser.add_argument("data", help="folder in MVTec AD layout, or of good pictures")
    parser.add_argument("--out", required=True, help="folder for the model, checkpoints and logs")
    parser.add_argument("--groups", help=GROUPS_HELP)
    parser.add_argument(
        "--roi", help="mask of the region of interest: what is black in it is not looked at, and never alarms"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable pictures out and list them")
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
    """Train into a run folder, or go on with an interrupted run of the same configuration and pictures."""
    pictures, bad = check_pictures(image_set.train, skip_bad=skip_bad)
    for picture, reason in bad:
        print(f"left out: {picture.path}: {reason}", file=sys.stderr)

    groups = [picture.group for picture in pictures]
    region = None if roi is None else read_image(roi).max(axis=2) >= 0.5
    # Only now the heavy import: everything else that can be wrong with the input has been looked at.
    from patchebm.cli.runs import Run
    from patchebm.detector import EnsembleDetector

    EnsembleDetector(config).check(len(pictures), groups, region)
    run = Run(out)
    if overwrite:
        run.clear()
    looked_at = [p.path for p in pictures] + ([] if roi is None else [Path(roi)])
    resumed = run.begin(config, looked_at, image_set.root)
    if resumed:
        print(f"{out} holds an interrupted run of this configuration: going on with it", file=sys.stderr)
    run.remember([p.path for p in pictures], image_set.root)
    began = time.perf_counter()
    detector = EnsembleDetector(config).fit([p.path for p in pictures], groups, out / "training", region)
    seconds = time.perf_counter() - began
    card = run.finish(command=command, seconds=seconds, image_set=image_set, pictures=len(pictures))
    detector.save(out, card)
    # They only serve to go on, and there is nothing left to go on with.
    for checkpoint in (out / "training").rglob("last.ckpt"):
        checkpoint.unlink()
    threshold = detector.threshold_
    print(
        f"trained on {len(pictures)} pictures of {image_set.name} in {seconds:.0f} s; scores above "
        f"{threshold.value:.2f} are anomalous ({threshold.describe()})"
    )
    order = detector.order_
    if order is not None and order.matters:
        print(
            f"note: {order.alike} of {order.pictures} pictures look most like one of the next three by file "
            f"name ({order.expected:.0f} would by chance). If such neighbours show one part or one moment, "
            "the false-alarm rate holds for more of the same: name parts with --groups, or add "
            "--calibration.consecutive true, which holds neighbours out together",
            file=sys.stderr,
        )
    print(f"model: {out}; next: patchebm evaluate {out} {image_set.root}")
