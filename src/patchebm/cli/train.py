"""`patchebm train DATA --out RUN`: fit a detector on images of good parts."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchebm.cli.config_options import ConfigParser
from patchebm.cli.options import DEVICE_HELP, GROUPS_HELP
from patchebm.config.base import RunConfig
from patchebm.config.build import check_config
from patchebm.images.fingerprints import FingerprintTaker
from patchebm.images.folders import ImageFile, ImageSet, open_image_set, readable_photos, refuse_bad
from patchebm.images.photo import Photo
from patchebm.images.reading import read_image
from patchebm.provenance import combined_hash, file_hash, name_below

if TYPE_CHECKING:
    from patchebm.detector import EnsembleDetector


def run(argv: Sequence[str]) -> None:
    """Train as the arguments say."""
    parser = ConfigParser(prog="patchebm train", description=__doc__)
    parser.add_argument("data", help="folder in MVTec AD layout, or of good images")
    parser.add_argument("--out", required=True, help="folder for the model, checkpoints and logs")
    parser.add_argument("--groups", help=GROUPS_HELP)
    parser.add_argument(
        "--roi", help="mask of the region of interest: what is black in it is not inspected, and never alarms"
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images out and list them")
    parser.add_argument("--overwrite", action="store_true", help="delete what another run left in --out")
    values, changes = parser.parse_config(argv)
    config = changes.applied_to(values.preset)
    image_set = open_image_set(values.data, groups=values.groups)
    train_run(
        config,
        image_set,
        Path(values.out),
        roi=values.roi,
        device=values.device,
        skip_bad=values.skip_bad,
        overwrite=values.overwrite,
        command=["patchebm", "train", *argv],
    )


def train_run(
    config: RunConfig,
    image_set: ImageSet,
    out: Path,
    *,
    roi: str | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    overwrite: bool = False,
    command: Sequence[str],
) -> None:
    """Train into a run folder, or go on with an interrupted run of the same configuration and images."""
    check_config(config)
    region = None if roi is None else read_image(roi).max(axis=2) >= 0.5
    # Only now the heavy import: everything else that can be wrong with the input has been checked.
    from patchebm.detector import EnsembleDetector
    from patchebm.run_folder import RunFolder

    detector = EnsembleDetector(config, device=device)
    folder = RunFolder(out)
    if overwrite:
        folder.clear()
    folder.refuse_others()
    images = _Images(image_set)
    reading = detector.read(images, len(image_set.train), region)
    refuse_bad(images.bad, len(images.good), skip_bad=skip_bad)
    for image, reason in images.bad:
        print(f"left out: {image.path}: {reason}", file=sys.stderr)
    groups = [image.group for image in images.good]
    detector.assign_folds(len(groups), groups)
    resumed = folder.begin(config, images.sha256([] if roi is None else [Path(roi)]))
    if resumed:
        print(f"{out} holds an interrupted run of this configuration: going on with it", file=sys.stderr)
    folder.remember(images.fingerprints)
    began = time.perf_counter()
    detector.fit_reading(reading, groups, folder.training)
    seconds = time.perf_counter() - began + images.seconds
    card = folder.finish(command=command, seconds=seconds, image_set=image_set, images=len(groups))
    detector.save(out, card)
    folder.drop_checkpoints()
    _report(detector, image_set, out, len(groups), seconds)


class _Images:
    """The training images, each of which is opened once, with what is kept of each on the way.

    Args:
        image_set: whose training images they are.

    Attributes:
        good, bad: the images that could be read, and the others with the reason.
        seconds: between the first image and the last.
    """

    def __init__(self, image_set: ImageSet) -> None:
        self._set = image_set
        self.good: list[ImageFile] = []
        self.bad: list[tuple[ImageFile, str]] = []
        self.seconds = 0.0
        self._hashes: list[tuple[str, str]] = []
        self._taker = FingerprintTaker(image_set.root)

    def __iter__(self) -> Iterator[Photo]:
        began = time.perf_counter()
        for image, photo in readable_photos(self._set.train, self.bad):
            self.good.append(image)
            self._hashes.append((name_below(photo.path, self._set.root), photo.sha256))
            self._taker.add(photo)
            yield photo
        self.seconds = time.perf_counter() - began

    @property
    def fingerprints(self) -> FingerprintTaker:
        """The fingerprints of the good images."""
        return self._taker

    def sha256(self, others: Sequence[Path]) -> str:
        """The hash over the good images and other files."""
        more = [(name_below(path, self._set.root), file_hash(path)) for path in others]
        return combined_hash([*self._hashes, *more])


def _report(detector: EnsembleDetector, image_set: ImageSet, out: Path, images: int, seconds: float) -> None:
    """Say what was trained, and what the user may have to know of it."""
    threshold = detector.threshold_
    print(
        f"trained on {images} images of {image_set.name} in {seconds:.0f} s; scores above "
        f"{threshold.value:.2f} are anomalous ({threshold.describe()})"
    )
    order = detector.order_
    if order is not None and order.matters:
        print(
            f"note: {order.alike} of {order.images} images are most like one of the next three by file "
            f"name ({order.expected:.0f} would be by chance). If such neighbours show one part or one "
            "moment, the false-alarm rate holds for more of the same: name parts with --groups, or add "
            "--calibration.consecutive true, which holds neighbours out together",
            file=sys.stderr,
        )
    print(f"model: {out}; next: patchebm evaluate {out} {image_set.root}")
