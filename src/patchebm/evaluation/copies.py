"""This module finds test images that are training images, too: figures on them flatter."""

from __future__ import annotations

from patchebm.images.fingerprints import (
    Duplicate,
    Fingerprints,
    find_duplicates,
    load_fingerprints,
    take_fingerprints,
)
from patchebm.images.folders import ImageSet
from patchebm.run_folder import RunFolder


def find_copies(run: RunFolder, image_set: ImageSet, test: Fingerprints) -> tuple[list[Duplicate], list[str]]:
    """Finds test images that are, or nearly are, training images.

    Args:
        run: whose training images count; where it does not know them, those of the set do.
        image_set: of the test images.
        test: their fingerprints.

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
        sentences.append(
            f"{run.path} does not know its training images; copies were looked for among those of "
            f"{image_set.root}"
        )
        train = take_fingerprints([p.path for p in image_set.train], image_set.root)
    found = find_duplicates(train, test)
    for exact, what in ((True, "also a training image"), (False, "nearly a training image")):
        chosen = [f"{d.test} = {d.train}" for d in found if d.exact == exact]
        if chosen:
            names = ", ".join(chosen[:10]) + (", ..." if chosen[10:] else "")
            sentences.append(
                f"{len(chosen)} of {len(test.names)} test images: each is {what}, and figures flatter: "
                f"{names}"
            )
    return found, sentences
