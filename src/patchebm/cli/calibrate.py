"""`patchebm calibrate RUN [IMAGES...]`: another false-alarm rate, or another camera, without training again.

With images of good parts that the model was not trained on, what scores, thresholds and maps mean is learnt
again from these. Without, only the thresholds move. Of a folder those images are taken that `train` would
take: `train/good`, else `good`, else the images directly in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from patchebm.cli.options import GOOD_HELP, GROUPS_HELP, PIXEL_RATE, PIXEL_RATE_HELP, RATE, RATE_HELP, Parser
from patchebm.cli.terminal import note, say, say_left_out, show
from patchebm.errors import ConfigError
from patchebm.images.calibration_images import (
    find_calibration_images,
    refuse_masks,
    refuse_trained,
    resembles_mask,
)
from patchebm.images.checking import refuse_bad
from patchebm.images.decoding import Decoding
from patchebm.images.fingerprints import load_fingerprints
from patchebm.images.folders import ImageFile
from patchebm.images.taking import TakenImages
from patchebm.run_folder import RunFolder
from patchebm.runtime.threshold import parts_needed


def run(argv: Sequence[str]) -> None:
    """Calibrate as the arguments say."""
    parser = Parser(prog="patchebm calibrate", description=__doc__)
    parser.add_argument("run", help="folder that `patchebm train` wrote; its model is replaced at the end")
    parser.add_argument("images", nargs="*", help="images of good parts, or folders of them")
    parser.add_argument(RATE, type=float, help=RATE_HELP)
    parser.add_argument(PIXEL_RATE, type=float, help=PIXEL_RATE_HELP)
    parser.add_argument("--groups", help=GROUPS_HELP)
    parser.add_argument("--good", nargs="+", default=[], metavar="NAME", help=GOOD_HELP)
    parser.add_argument("--out", help="write the model to this folder instead, and leave RUN as it is")
    values = parser.parse(argv)
    rates = (values.false_alarm_rate, values.false_pixel_rate)
    if not values.images and rates == (None, None):
        raise ConfigError(f"name images of good parts, or a rate with {RATE} or {PIXEL_RATE}, or both")
    images, left_out = find_calibration_images(values.images, values.groups, good=values.good)
    say_left_out(left_out)

    from patchebm.detector import load

    detector = load(values.run)
    detector.notices.say = note
    folder, out = RunFolder(values.run), RunFolder(values.out or values.run)
    # Former versions kept here what the model was expected to find at its former threshold.
    card = {key: fact for key, fact in detector.card_.items() if key != "expected"}
    # Before the images: a rate that cannot be had is refused before hours of scoring.
    if values.false_pixel_rate is not None:
        detector = detector.at_false_pixel_rate(values.false_pixel_rate)
    taken = _taken(images, Path(values.images[0]), folder, detector.decoding_) if images else None
    if taken is not None:
        copies = taken.find_copies()
        if copies.copies:
            show(copies.sentence())
        copies.require("calibrate on")
        good = [taken.good[i] for i in copies.distinct]
        detector.calibrate([p.path for p in good], [p.group for p in good], values.false_alarm_rate)
        card["calibration"] = {
            "images": len(good),
            "copies": len(copies.copies),
            "data_sha256": taken.sha256(),
        }
        card["profile"] = taken.profile.to_dict()
    elif values.false_alarm_rate is not None:
        detector = detector.at_false_alarm_rate(values.false_alarm_rate)
    detector.save(out.path, card)
    out.remember_calibration(None if taken is None else taken.fingerprints, folder)
    threshold = detector.threshold_
    print(f"scores above {threshold.value:.2f} are anomalous ({threshold.describe()})")
    print(detector.calibration_.pixels.describe())
    if (expected := detector.expectation()) is not None:
        print(expected)
    if threshold.extrapolated:
        needed = parts_needed(threshold.false_alarm_rate)
        say(f"to observe a rate of {threshold.false_alarm_rate:g}, give at least {needed} good parts")


def _taken(images: Sequence[ImageFile], first: Path, run: RunFolder, decoding: Decoding) -> TakenImages:
    """Return the images, each of which was opened and is none that a calibration may not use."""
    root = first if first.is_dir() else first.parent
    taken = TakenImages(images, root, lambda: decoding)
    masks = [photo.path for photo in taken if resembles_mask(photo)]
    refuse_bad(taken.bad, len(taken.good), skip_bad=False)
    refuse_masks(len(taken.good), masks)
    if run.fingerprints_file.exists():
        refuse_trained(run.path, load_fingerprints(run.fingerprints_file), taken.fingerprints)
    else:
        say(
            f"{run.path} does not know its training images, so that it cannot be told whether these are "
            "among them"
        )
    return taken
