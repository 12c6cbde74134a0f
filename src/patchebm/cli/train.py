"""`patchebm train DATA --out RUN`: fit a detector on images of good parts."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from patchebm.cli.config_options import ConfigChanges, ConfigParser
from patchebm.cli.decoding import add_decoding_options, given_decoding
from patchebm.cli.options import DEVICE_HELP, GOOD_HELP, GROUPS_HELP, ROI_HELP, SKIP_BAD_HELP
from patchebm.cli.terminal import note, say, say_left_out, show
from patchebm.config.base import RunConfig
from patchebm.config.build import check_config
from patchebm.config.features import FeaturesConfig
from patchebm.config.presets import DEFAULT_PRESET, QUICK_PRESET
from patchebm.device import check_devices, require_devices
from patchebm.errors import ConfigError
from patchebm.images.checking import refuse_bad
from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.images.region import read_region
from patchebm.images.taking import MIN_IMAGES, TakenImages
from patchebm.processes import Processes

if TYPE_CHECKING:
    from patchebm.detector import EnsembleDetector
    from patchebm.detector.dropping import Drop


def train_parser() -> ConfigParser:
    """Returns the options of `patchebm train`."""
    parser = ConfigParser(prog="patchebm train", description=__doc__)
    parser.add_argument("data", help="folder in MVTec AD layout, or of good images")
    parser.add_argument("--out", required=True, help="folder for the model, checkpoints and logs")
    parser.add_argument("--groups", help=GROUPS_HELP)
    parser.add_argument("--roi", help=ROI_HELP)
    parser.add_argument(
        "--drop-outliers",
        metavar="N",
        help="leave out the N oddest training images, or with auto those that stand apart, and fit again",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="Gaussians alone, at 256 px: the preset features-fast, fitted in seconds",
    )
    parser.add_argument(
        "--smallest-defect",
        metavar="PX",
        help="extent in pixels of the smallest defect that must be found; it may choose a larger size",
    )
    parser.add_argument(
        "--precision",
        metavar="P",
        help="of the backbone, now and later: f32 (default), or int8, faster on many processors",
    )
    parser.add_rare_option(
        "--time-per-image",
        "milliseconds that an image may take on one thread of this machine, decoding left out; it may choose "
        "a smaller size",
        metavar="MS",
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_rare_option(
        "--devices",
        "train the networks of a preset of pixels on N GPUs, or by N processes on the CPU, each with a "
        "batch of its own (default: 1)",
        type=int,
        default=1,
        metavar="N",
    )
    parser.add_rare_option(
        "--workers",
        "open the images and compute their features in N processes, for a preset of features (default: 1)",
        type=int,
        default=1,
        metavar="N",
    )
    add_decoding_options(parser)
    parser.add_argument("--good", nargs="+", default=[], metavar="NAME", help=GOOD_HELP)
    parser.add_argument("--skip-bad", action="store_true", help=SKIP_BAD_HELP)
    parser.add_argument("--overwrite", action="store_true", help="delete what another run left in --out")
    return parser


def check_options(argv: Sequence[str]) -> RunConfig:
    """Returns the configuration that arguments of `patchebm train` name.

    Raises:
        ConfigError: it would refuse them before it looks at images.
    """
    values, changes = train_parser().parse_config(argv)
    config = check_config(given_config(values, changes))
    check_devices(values.devices, config)
    _check_workers(values.workers, config)
    _drop(values.drop_outliers)
    given_decoding(values)
    return config


def run(argv: Sequence[str]) -> None:
    """Train as the arguments say."""
    values, changes = train_parser().parse_config(argv)
    config = given_config(values, changes)
    check_devices(values.devices, config)
    _check_workers(values.workers, config)
    decoding = given_decoding(values)
    image_set = open_image_set(values.data, groups=values.groups, good=values.good)
    say_left_out(image_set.left_out)
    train_run(
        config,
        image_set,
        Path(values.out),
        roi=values.roi,
        drop=_drop(values.drop_outliers),
        device=values.device,
        devices=values.devices,
        workers=values.workers,
        skip_bad=values.skip_bad,
        overwrite=values.overwrite,
        decoding=decoding,
        command=["patchebm", "train", *argv],
    )


def train_run(
    config: RunConfig,
    image_set: ImageSet,
    out: Path,
    *,
    roi: str | None = None,
    drop: Drop | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int = 1,
    skip_bad: bool = False,
    overwrite: bool = False,
    decoding: Decoding = STANDARD,
    command: Sequence[str],
) -> None:
    """Train into a run folder, or go on with an interrupted run of the same configuration and images."""
    check_config(config)
    region = None if roi is None else read_region(roi)
    # Only now the heavy import: everything else that can be wrong with the input has been checked.
    from patchebm.detector import EnsembleDetector
    from patchebm.detector.dropping import fit_dropping
    from patchebm.report.training_page import TrainingReport
    from patchebm.run_folder import RunFolder
    from patchebm.training.variations import ENOUGH

    detector = EnsembleDetector(config, device=device, devices=devices, decoding=decoding)
    detector.notices.say = note
    # Before another run is deleted.
    require_devices(device, devices)
    folder = RunFolder(out)
    if overwrite:
        folder.clear()
    folder.refuse_others()
    with Processes(workers) if workers > 1 else nullcontext() as processes:
        images = TakenImages(image_set.train, image_set.root, lambda: detector.decoding_, region, processes)
        sources = [image.path for image in image_set.train]
        reading = detector.read(
            images,
            len(sources),
            None if region is None else region.pixels,
            sources=sources,
            groups=[image.group for image in image_set.train],
            # Those that cannot be read are left out.
            group_of=lambda i: images.good[i].group,
            processes=processes,
        )
        refuse_bad(images.bad, len(images.good), skip_bad=skip_bad)
        for image, reason in images.bad:
            say(f"left out: {image.path}: {reason}")
        _say_how_images_were_read(detector, images)
        copies = images.find_copies()
        copies.require("train", 1 if config.takes_few else MIN_IMAGES)
        distinct = copies.distinct
        if copies.copies:
            show(copies.sentence())
            reading = detector.leave_copies_out(reading, distinct, lambda i: images.good[i].path)
        good = [images.good[i] for i in distinct]
        if len(good) < min(len(sources), ENOUGH):
            # They are fewer than was known when they were read, and few need more of each.
            region_pixels = None if region is None else region.pixels
            paths = [image.path for image in good]
            reading = detector.read(paths, len(good), region_pixels, processes=processes)
    groups = [image.group for image in good]
    detector.assign_folds(len(groups), groups)
    resumed = folder.begin(
        config, images.sha256([] if roi is None else [Path(roi)]), detector.decoding_.to_dict()
    )
    if resumed:
        say(f"{out} holds an interrupted run of this configuration: going on with it")
    folder.remember(images.fingerprints)
    began = time.perf_counter()
    dropping = fit_dropping(detector, reading, groups, drop, folder.training_of)
    seconds = time.perf_counter() - began + images.seconds
    report = TrainingReport.of(detector, image_set, good, dropping, copies)
    facts = {
        "images": len(dropping.kept),
        "copies": len(copies.copies),
        "dropped": [row.name for row in report.rows if row.left_out],
        "profile": images.profile.to_dict(),
    }
    card = folder.finish(command=command, seconds=seconds, image_set=image_set, images=facts)
    report.write_table(folder)
    if detector.size_choice_ is not None:
        card["size_choice"] = detector.size_choice_.to_dict()
    if detector.variations_ is not None:
        card["variations"] = detector.variations_.to_dict()
    detector.save(out, card)
    folder.keep_training_of(dropping.rounds - 1)
    folder.drop_checkpoints()
    if region is not None:
        say(f"{100 * region.share:.0f} % of the image is inspected (--roi {region.path})")
    report.write_page(folder, card)
    for sentence in report.sentences:
        show(sentence)
    _report(detector, image_set, out, len(dropping.kept), seconds)


def _check_workers(workers: int, config: RunConfig) -> None:
    """Raises ConfigError for a number of processes that cannot work."""
    if workers < 1:
        raise ConfigError(f"--workers is {workers}; give at least 1")
    if workers > 1 and not isinstance(config, FeaturesConfig):
        raise ConfigError(
            f"--workers is {workers}, and images for a network of pixels are read by one process; leave "
            "--workers out, or start from a preset of features"
        )


def given_config(values: Namespace, changes: ConfigChanges) -> RunConfig:
    """Returns the configuration that the arguments name."""
    for key in ("smallest_defect", "time_per_image"):
        if getattr(values, key) is not None:
            changes.options[f"features.{key}"] = getattr(values, key)
    config = changes.applied_to(_preset(values.preset, quick=values.quick))
    if values.precision is None:
        return config
    if not isinstance(config, FeaturesConfig):
        raise ConfigError(
            f"--precision is that of a backbone, and a run of kind {config.kind} has none; leave it out, or "
            f"use the preset {DEFAULT_PRESET}"
        )
    return check_config(replace(config, features=replace(config.features, precision=values.precision)))


def _preset(given: str | None, *, quick: bool) -> str | None:
    """Returns the preset to start from. Raises ConfigError where --quick means nothing."""
    if not quick:
        return given
    if given not in (None, DEFAULT_PRESET, QUICK_PRESET):
        raise ConfigError(f"--quick is the preset {QUICK_PRESET}; leave --preset {given} or --quick out")
    return QUICK_PRESET


def _drop(value: str | None) -> Drop | None:
    """Returns how many images are to be left out. Raises ConfigError for what is neither."""
    if value is None:
        return None
    if value == "auto":
        return "auto"
    if not value.isdecimal() or not int(value):
        raise ConfigError(f"--drop-outliers is {value}; give a number of images, or auto")
    return int(value)


def _say_how_images_were_read(detector: EnsembleDetector, images: TakenImages) -> None:
    """Say what was taken for white, and what fills transparent images."""
    if detector.depth_ is not None:
        note(f"{detector.depth_.describe()}; --bits states another depth")
    if transparency := images.transparency(detector.decoding_):
        note(f"{transparency}; --background states another colour")


def _report(detector: EnsembleDetector, image_set: ImageSet, out: Path, images: int, seconds: float) -> None:
    """Say what was trained, and what the user may have to know of it."""
    threshold = detector.threshold_
    print(
        f"trained on {images} image{'s' if images != 1 else ''} of {image_set.name} in {seconds:.0f} s; "
        f"scores above {threshold.value:.2f} are anomalous ({threshold.describe()})"
    )
    if detector.inspected is not None:
        print(f"the model {detector.inspected}")
    if isinstance(detector.config, FeaturesConfig) and detector.config.features.precision != "f32":
        print(f"the backbone computes in {detector.config.features.precision}, here and in exported models")
    if detector.size_reason is not None:
        print(detector.size_reason)
    if detector.variations_ is not None:
        print(detector.variations_.describe())
    expected = detector.expectation()
    if expected is not None:
        print(expected)
        if threshold.extrapolated:
            rate = threshold.shown_rate
            shown = detector.at_false_alarm_rate(rate).expectation()
            print(
                f"the smallest rate that so many good images show is about {rate:g}; {shown} "
                f"(calibrate --false-alarm-rate {rate:g})"
            )
    print(f"regions: {detector.calibration_.pixels.describe()}")
    order = detector.order_
    if order is not None and order.matters:
        together = order.series and detector.config.calibration.consecutive is None
        say(
            f"note: {order.alike} of {order.images} images are most like one of the next three by file "
            f"name ({order.expected:.0f} would be by chance). "
            + (
                "Neighbours were held out together; name parts with --groups where you know them"
                if together
                else "If such neighbours show one part or one moment, the false-alarm rate holds for more of "
                "the same: name parts with --groups, or add --calibration.consecutive true, which holds "
                "neighbours out together"
            ),
        )
    print(f"model: {out}; next: patchebm evaluate {out} {image_set.root}")
