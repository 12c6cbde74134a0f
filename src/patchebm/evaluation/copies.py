"""This module finds test images that are training images, too: figures on them flatter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.fingerprints import (
    Duplicate,
    Fingerprints,
    find_duplicates,
    load_fingerprints,
    take_fingerprints,
)
from patchebm.images.folders import ImageSet
from patchebm.provenance import combined_hash, name_below
from patchebm.run_folder import RunFolder


def find_copies(
    run: RunFolder, image_set: ImageSet, test: Fingerprints, decoding: Decoding = STANDARD
) -> tuple[list[Duplicate], list[str]]:
    """Finds test images that are, or nearly are, training images.

    Args:
        run: whose training images count; where it does not know them, those of the set do.
        image_set: of the test images.
        test: their fingerprints.
        decoding: what the numbers of image files mean.

    Returns:
        The findings, and sentences about them.

    Raises:
        DataError: the run's fingerprints are damaged.
        ImageError: an image cannot be read.
    """
    sentences = []
    if run.fingerprints_file.exists():
        train = load_fingerprints(run.fingerprints_file)
    else:
        where = (
            f"copies were looked for among those of {image_set.root}"
            if image_set.train
            else "if test images are among them, figures flatter"
        )
        sentences.append(f"{run.path} does not know its training images; {where}")
        train = take_fingerprints([p.path for p in image_set.train], image_set.root, decoding)
    found = find_duplicates(train, test) if train.names else []
    known = [("training", found)]
    if run.calibration_file.exists():
        calibrated = find_duplicates(load_fingerprints(run.calibration_file), test)
        known.append(("calibration", calibrated))
    for kind, duplicates in known:
        for exact, be in ((True, "also"), (False, "nearly")):
            chosen = [f"{d.test} = {d.train}" for d in duplicates if d.exact == exact]
            if chosen:
                names = ", ".join(chosen[:10]) + (", ..." if chosen[10:] else "")
                sentences.append(
                    f"{len(chosen)} of {len(test.names)} test images: each is {be} a {kind} image, and "
                    f"figures flatter: {names}"
                )
    return found, sentences


def without_training_images(
    run: RunFolder, card: Mapping[str, Any], image_set: ImageSet, test: Fingerprints
) -> tuple[ImageSet, Fingerprints, list[str]]:
    """Leaves out good images that lie beside defects and are those that the model was trained on.

    In a folder with `good` beside defects, as `open_test_set` lists it, `good` may be what the model was
    trained on or not: a run knows its training images, and a bundle the hash over them.

    Args:
        run: of the model.
        card: of a bundle; empty for a run.
        image_set: as `open_test_set` lists it.
        test: fingerprints of its test images of known truth, in their order.

    Returns:
        The set without them, with training images only where they do not lie among the test images; the
        fingerprints of the others; sentences about them.
    """
    candidates = set(image_set.train) & {replace(p, masks=()) for p in image_set.test}
    if not candidates:
        return image_set, test, []
    root = image_set.root
    sha256 = dict(zip(test.names, test.sha256, strict=True))
    names = [name_below(p.path, root) for p in image_set.train]
    if run.fingerprints_file.exists():
        trained = set(load_fingerprints(run.fingerprints_file).sha256)
    elif combined_hash((name, sha256[name]) for name in names if name in sha256) == dict(
        card.get("trained_on", {})
    ).get("data_sha256"):
        trained = {sha256[name] for name in names}
    else:
        trained = set()
    dropped = {name for name in names if sha256.get(name) in trained}
    kept = [i for i, name in enumerate(test.names) if name not in dropped]
    image_set = replace(
        image_set, train=(), test=tuple(p for p in image_set.test if name_below(p.path, root) not in dropped)
    )
    others = Fingerprints([test.names[i] for i in kept], [test.sha256[i] for i in kept], test.details[kept])
    if not dropped:
        return image_set, others, []
    example = root / min(dropped)
    return (
        image_set,
        others,
        [f"{len(dropped)} good images are left out, since the model was trained on them (such as {example})"],
    )
