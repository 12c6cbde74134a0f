"""This module makes sentences of what was found in an image set, each with what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from patchebm.check.name_groups import groups_in_names
from patchebm.check.rate import folds_finding, rate_finding
from patchebm.check.reading import CheckedTest, CheckedTraining
from patchebm.check.thumbnails import cells_of
from patchebm.config.base import RunConfig
from patchebm.config.features import FeaturesConfig
from patchebm.errors import DataError
from patchebm.files import as_unicode
from patchebm.images.findings import WEIGHTS, Finding, Weight
from patchebm.images.folders import GOOD, ImageSet
from patchebm.images.image_file import ImageFile
from patchebm.images.names import means_good
from patchebm.images.order import measure_order
from patchebm.images.profile import QUALITY_MARGIN, Profile, in_words
from patchebm.images.region import Region
from patchebm.images.taking import MIN_IMAGES
from patchebm.images.truth import truth_findings
from patchebm.provenance import name_below
from patchebm.runtime.inputs import MIN_SIDE


def find_all(
    image_set: ImageSet,
    training: CheckedTraining,
    test: CheckedTest,
    config: RunConfig,
    region: Region | None = None,
    *,
    skip_bad: bool = False,
) -> list[Finding]:
    """Returns all that was found, errors first.

    Args:
        image_set: that was read.
        training, test: what was read of it.
        config: of the training that is planned: its false-alarm rate and its folds count.
        region: the region of interest, if there is one.
        skip_bad: whether unreadable images are to be left out.
    """
    findings = [
        *_left_out(image_set),
        *_unreadable(image_set, training, test, skip_bad=skip_bad),
        *_named_good(image_set),
        *_enough(image_set, training, config),
        *_pixels(image_set, training),
        *(() if region is None else _region(training, config, region)),
        *_mixture(training),
        *_series(training),
        *_test(image_set, training, test),
    ]
    return sorted(findings, key=lambda finding: WEIGHTS.index(finding.weight))


def _region(training: CheckedTraining, config: RunConfig, region: Region) -> Iterator[Finding]:
    if not isinstance(config, FeaturesConfig):
        fix = "use the preset features, or leave --roi out"
        yield Finding("region", "error", "a region of interest needs a preset of features", fix)
        return
    stretched = [
        image.path
        for image, traits in zip(training.good, training.traits, strict=True)
        if not region.has_aspect(traits.height, traits.width)
    ]
    if stretched:
        yield Finding(
            "region",
            "error",
            f"the region of interest {region.path} would be stretched over {len(stretched)} of "
            f"{len(training.good)} images, such as {stretched[0]}, which have another aspect ratio",
            "draw it on one of the images, and leave out those of another aspect",
            tuple(as_unicode(str(path)) for path in stretched),
        )
        return
    share = f"{100 * region.share:.0f} % of the image is inspected, as {region.path} says"
    yield Finding("region", "note", share)


def distinct_images(training: CheckedTraining) -> list[ImageFile]:
    """Returns the images to train on that can be read, each photograph once."""
    return [training.good[i] for i in training.copies.distinct]


def _left_out(image_set: ImageSet) -> Iterator[Finding]:
    # --good takes the place of all names that are understood without it.
    known = [folder.name for folder in _good_by_name(image_set)]
    for left_out in image_set.left_out:
        what = left_out.what
        weight: Weight = "note"
        fix = "if they are good parts, or test images, move them to the others"
        if "which does not mean good" in what:
            names = [*known, left_out.example.parent.name]
            fix, weight = f"if they are good parts, add --good {shlex.join(dict.fromkeys(names))}", "warning"
        elif "hidden" in what:
            fix = "if they belong to the set, take the dot off the front of their names"
        elif what.startswith("files that"):
            fix = "if they are images, save them as PNG"
        elif what.startswith("folders that are linked"):
            fix = ""
        elif what == "masks":
            fix = "if they are images of parts, give their folder another name"
        sentence = f"left out: {left_out.count} {what} (such as {left_out.example})"
        yield Finding("left out", weight, sentence, fix)


def _named_good(image_set: ImageSet) -> Iterator[Finding]:
    for folder in _good_by_name(image_set):
        yield Finding(
            "good by name",
            "note",
            f"{folder} holds good parts by its name",
            f"if it does not, name those that do with --good, for instance --good {GOOD}",
        )


def _unreadable(
    image_set: ImageSet, training: CheckedTraining, test: CheckedTest, *, skip_bad: bool
) -> Iterator[Finding]:
    weight: Weight = "warning" if skip_bad else "error"
    for bad, count, what, own, verb in (
        (training.bad, len(image_set.train), "training images", weight, "train"),
        (test.bad, len(image_set.test), "test images or their masks", "warning", "evaluate"),
    ):
        if bad:
            it = "it" if len(bad) == 1 else "them"
            yield Finding(
                "unreadable",
                own,
                f"{len(bad)} of {count} {what} cannot be used, such as {bad[0][1]}",
                f"repair or remove {it}, or leave {it} out with `patchebm {verb} --skip-bad`",
                tuple(reason for _, reason in bad),
            )
    if training.small:
        yield Finding(
            "small images",
            "error",
            f"{_have(training.small)} too few pixels to be scored, such as {training.small[0]}",
            f"take out what is less than {MIN_SIDE} pixels wide or high, or save it larger",
            _names(training.small, image_set.root),
        )


def _enough(image_set: ImageSet, training: CheckedTraining, config: RunConfig) -> Iterator[Finding]:
    copies = training.copies
    if copies.copies:
        yield Finding(
            "copies",
            "warning",
            copies.sentence(),
            "training leaves them out; if they are different photographs of parts that lie still, take "
            "photographs of more parts",
            tuple(f"{name}: as {original}" for name, original in copies.copies.items()),
        )
    try:
        copies.require("train", 1 if config.takes_few else MIN_IMAGES)
    except DataError as error:
        yield Finding("too few images", "error", str(error))
        return
    groups = [image.group for image in distinct_images(training)]
    if len(groups) == 1:
        yield Finding(
            "rate",
            "warning",
            "1 image shows no false-alarm rate: the threshold would be a guess",
            "give at least 6 good images, or calibrate with as many once you have them",
        )
        return
    too_few = folds_finding(groups, config.calibration.folds, config.seed, takes_few=config.takes_few)
    if too_few is not None:
        yield too_few
    known = [group for group in groups if group is not None]
    if known:
        yield Finding(
            "groups",
            "note" if len(known) == len(groups) else "warning",
            f"it is known of {len(known)} of {len(groups)} images which of {len(set(known))} parts they show",
            "" if len(known) == len(groups) else "each of the others counts as a part of its own; add them",
        )
    yield rate_finding(groups, config.false_alarm_rate)


def _pixels(image_set: ImageSet, training: CheckedTraining) -> Iterator[Finding]:
    if training.depth is not None:
        yield Finding("depth", "note", training.depth.describe(), "--bits N states another depth")
    for misfit, count in training.misfits.values():
        more = f" ({count} such images)" if count > 1 else ""
        yield Finding(f"misfit: {misfit.kind}", "warning", f"{misfit.sentence}{more}")
    if training.transparency:
        yield Finding(
            "transparency", "note", training.transparency, "--background states another colour, or keep"
        )
    if training.blank:
        yield Finding(
            "blank images",
            "warning",
            f"{_have(training.blank)} one colour all over, such as {training.blank[0]}",
            "take out what shows no part",
            _names(training.blank, image_set.root),
        )


def _mixture(training: CheckedTraining) -> Iterator[Finding]:
    if not training.traits:
        return
    profile = Profile.of(training.traits)
    fine = "that is fine if images come so on the line, too; else"
    if len(profile.kinds) > 1:
        kinds = ", ".join(f"{count} {kind}" for kind, count in profile.kinds.items())
        yield Finding(
            "file kinds", "note", f"files of several kinds: {kinds}", f"{fine} save all as they come there"
        )
    low, high = profile.jpeg_quality or (0, 0)
    if high - low > QUALITY_MARGIN:
        yield Finding(
            "JPEG quality",
            "note",
            f"JPEG files of quality {low} to {high}",
            f"{fine} save all at one quality",
        )
    if 0 < profile.grey < profile.images:
        yield Finding(
            "colour",
            "note",
            f"{profile.grey} of {profile.images} images show no colour, the others do",
            f"{fine} take all in one way",
        )
    sizes = sorted({(one.width, one.height) for one in training.traits}, key=lambda size: size[0] * size[1])
    if len(sizes) > 1:
        small, large = (f"{width} x {height}" for width, height in (sizes[0], sizes[-1]))
        yield Finding(
            "sizes",
            "note",
            f"images of {len(sizes)} sizes, from {small} to {large} pixels: training brings all to one "
            "size and shape",
            f"{fine} cut all to one size",
        )


def _series(training: CheckedTraining) -> Iterator[Finding]:
    chosen = [i for i in training.copies.distinct if training.good[i].group is None]
    if len(chosen) < 2:
        return
    cells = cells_of(training.thumbnails[chosen])
    suggested = groups_in_names([training.good[i].path.name for i in chosen], cells)
    if suggested is not None:
        yield Finding(
            "names",
            "warning",
            f"the names of {suggested.images} images suggest that they show {suggested.parts} parts, and "
            f"{suggested.alike} of them look most like another of the same name ({suggested.expected:.0f} "
            "would by chance)",
            f"if they do, add --groups {shlex.quote(suggested.pattern)}",
        )
        return
    order = measure_order(cells)
    if order.matters:
        yield Finding(
            "order",
            "warning",
            f"{order.alike} of {order.images} images look most like one of the three before or after them "
            f"in the order of their names ({order.expected:.0f} would by chance)",
            "if such neighbours show one part or one moment, say so with --groups; training holds neighbours "
            "out together if most of their features are alike",
        )


def _test(image_set: ImageSet, training: CheckedTraining, test: CheckedTest) -> Iterator[Finding]:
    root = image_set.root
    if not image_set.test:
        yield Finding(
            "no test images",
            "note",
            "there are no test images, so that a model can be trained and not measured",
            f"put images of known truth in {root / 'test' / GOOD} and {root / 'test'}/<defect>",
        )
        return
    defects, good = image_set.defects, [p for p in image_set.test if p.anomalous is False]
    if defects and not good and len(defects) == 1:
        yield Finding(
            "no good test images",
            "note",
            f"all {len(image_set.test)} test images are of the defect '{defects[0]}', so that false alarms "
            "cannot be counted",
            f"put good parts that are not trained on in {root / 'test' / GOOD}",
        )
    if good and not defects:
        yield Finding(
            "no defects",
            "note",
            "there are no test images of defects, so that misses cannot be counted",
            f"put some in {root / 'test'}/<defect>",
        )
    yield from truth_findings(image_set, test.masks)
    if test.trained:
        first = test.trained[0]
        yield Finding(
            "trained test images",
            "warning",
            f"{len(test.trained)} of {len(test.good)} test images are training images, too, or nearly (such "
            f"as {first.test} of {first.train}): figures on them flatter",
            "take them out of the test images",
            tuple(one.test for one in test.trained),
        )
    known = test.traits and training.traits
    found = Profile.of(training.traits).differences(test.traits) if known else {}
    if found:
        trained, here = in_words(found)
        what = (
            f"good test images are {here}, and training images are {trained}"
            if trained
            else f"good test images are {here} than training images"
        )
        yield Finding(
            "different test images",
            "warning",
            f"{what}: they may be called anomalous for that alone",
            "take, and save, both in one way",
        )


def _good_by_name(image_set: ImageSet) -> list[Path]:
    """Returns the folders that count as good though they are not called so."""
    images = (*image_set.train, *image_set.test)
    folders = {parent for image in images for parent in _folders(image, image_set)}
    return sorted(folder for folder in folders if folder.name != GOOD and means_good(folder.name))


def _folders(image: ImageFile, image_set: ImageSet) -> Sequence[Path]:
    """Returns the folders between an image that counts as good and the root of its set."""
    if image.defect != GOOD or not image.path.is_relative_to(image_set.root):
        return []
    depth = len(image.path.relative_to(image_set.root).parts) - 1
    return list(image.path.parents)[:depth]


def _names(paths: Sequence[Path], root: Path) -> tuple[str, ...]:
    return tuple(name_below(path, root) for path in paths)


def _have(paths: Sequence[Path]) -> str:
    return "1 image has" if len(paths) == 1 else f"{len(paths)} images have"
