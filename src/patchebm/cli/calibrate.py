"""`patchebm calibrate RUN [IMAGES...]`: another false-alarm rate, or another camera, without training again.

With images of good parts that the model was not trained on, what scores, thresholds and maps mean is learnt
again from these. Without, only the threshold moves.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from patchebm.cli.options import GROUPS_HELP, RATE, Parser
from patchebm.errors import ConfigError
from patchebm.images.folders import ImageFile, check_images, find_images
from patchebm.images.groups import read_groups


def run(argv: Sequence[str]) -> None:
    """Calibrate as the arguments say."""
    parser = Parser(prog="patchebm calibrate", description=__doc__)
    parser.add_argument("run", help="folder that `patchebm train` wrote; its model is replaced at the end")
    parser.add_argument("images", nargs="*", help="images of good parts, or folders of them")
    parser.add_argument(RATE, type=float, help="share of good parts that may be called anomalous")
    parser.add_argument("--groups", help=GROUPS_HELP)
    parser.add_argument("--out", help="write the model to this folder instead, and leave RUN as it is")
    values = parser.parse(argv)
    if not values.images and values.false_alarm_rate is None:
        raise ConfigError(f"name images of good parts, or a rate with {RATE}, or both")
    paths = find_images(values.images) if values.images else []
    root = Path(values.images[0]) if values.images and Path(values.images[0]).is_dir() else Path()
    groups = read_groups(paths, root, values.groups)
    check_images([ImageFile(path) for path in paths])

    from patchebm.detector import load
    from patchebm.provenance import data_hash

    detector = load(values.run)
    card = dict(detector.card_)
    if paths:
        detector.calibrate(paths, [groups.get(path) for path in paths], values.false_alarm_rate)
        card["calibration"] = {"images": len(paths), "data_sha256": data_hash(paths, root)}
    else:
        detector = detector.at_false_alarm_rate(values.false_alarm_rate)
    detector.save(values.out or values.run, card)
    threshold = detector.threshold_
    print(f"scores above {threshold.value:.2f} are anomalous ({threshold.describe()})")
    if threshold.extrapolated:
        needed = int(1 / threshold.false_alarm_rate) + 1
        print(
            f"to observe a rate of {threshold.false_alarm_rate:g}, give at least {needed} good parts",
            file=sys.stderr,
        )
