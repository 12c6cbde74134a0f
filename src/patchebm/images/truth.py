"""This module finds test images, and masks, that may not say what they were meant to."""

from __future__ import annotations

from collections.abc import Sequence

from patchebm.images.findings import Finding
from patchebm.images.folders import ImageSet
from patchebm.images.image_file import ImageFile
from patchebm.images.masks import Mask
from patchebm.images.names import GOOD_NAMES

NAMED = 5
"""As many masks are named in a sentence."""


def truth_findings(image_set: ImageSet, masks: Sequence[tuple[ImageFile, Mask]]) -> list[Finding]:
    """Returns what of the test images does not count as one would expect.

    Args:
        image_set: with test images.
        masks: what each image's masks say, for those that have any.
    """
    found = []
    unlabelled = [p for p in image_set.test if p.anomalous is None]
    if unlabelled:
        found.append(
            Finding(
                "unlabelled",
                "warning",
                f"test images of unknown truth are left out, such as {unlabelled[0].path} "
                f"({len(unlabelled)} in all)",
                "put such in test/good or test/<defect>",
            )
        )
    defects = image_set.defects
    if len(defects) > 1 and not any(p.anomalous is False for p in image_set.test):
        found.append(
            Finding(
                "no good test images",
                "warning",
                f"no folder of test images is called good or the like ({', '.join(GOOD_NAMES[1:5])}, ...), "
                f"so that all count as defects: {', '.join(defects)}",
                "name those of good parts with --good",
            )
        )
    found += _mask_findings(masks)
    bare = {p.defect for p in image_set.test if p.anomalous and not p.masks}
    if bare and image_set.has_masks:
        found.append(
            Finding(
                "no masks", "note", f"no masks for {', '.join(sorted(bare))}: left out of the pixel figures"
            )
        )
    return found


def _mask_findings(masks: Sequence[tuple[ImageFile, Mask]]) -> list[Finding]:
    """Returns what masks may not have been meant to say."""
    result = []

    def warn(kind: str, chosen: list[ImageFile], sentence: str, fix: str = "") -> None:
        if chosen:
            names = ", ".join(str(p.masks[0]) for p in chosen[:NAMED]) + (", ..." if chosen[NAMED:] else "")
            files = tuple(str(p.masks[0]) for p in chosen)
            said = f"{sentence}: {names} ({len(chosen)} of {len(masks)})"
            result.append(Finding(kind, "warning", said, fix, files))

    warn(
        "empty masks",
        [image for image, mask in masks if image.anomalous and not mask.pixels.any()],
        "masks of anomalous images that mark no pixel, so that all there counts as good",
        "paint their defects white",
    )
    warn(
        "masks of good images",
        [image for image, mask in masks if not image.anomalous and mask.pixels.any()],
        "masks of good images that mark pixels, which count as defects",
        "remove these masks",
    )
    warn(
        "inverted masks",
        [image for image, mask in masks if mask.marks_most],
        "masks that mark more than half of the image and of its border",
        "what is not black is a defect: invert them if it is the other way round there",
    )
    warn(
        "masks with shades",
        [image for image, mask in masks if mask.shades],
        "masks with shades of grey, as JPEG and scaling leave them",
        "what has at least half of the brightest value counts as defect",
    )
    values = sorted({value for _, mask in masks for value in mask.labels})
    warn(
        "masks with labels",
        [image for image, mask in masks if mask.labels],
        "masks with several values",
        f"{', '.join(map(str, values[:8]))}{', ...' if values[8:] else ''} all count as defects",
    )
    return result
