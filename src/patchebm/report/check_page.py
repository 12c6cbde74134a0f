"""This module shows what a check of an image set found on a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from patchebm.check.rate import rate_text
from patchebm.check.result import SetCheck
from patchebm.check.thumbnails import SIDE
from patchebm.files import as_unicode
from patchebm.images.photo import Photo
from patchebm.report.gallery import shrunk
from patchebm.report.page import write_page
from patchebm.report.table import Table
from patchebm.runtime.threshold import rate_shown_by

LISTED = 200
"""As many images of a finding are listed."""


class ShownImage(NamedTuple):
    """This class is an image to be shown, and in what it differs from the others."""

    name: str
    image: Image.Image
    reasons: Sequence[str]


def write_check_page(path: Path, check: SetCheck, command: str) -> None:
    """Writes the page of a check.

    Args:
        path: of the file.
        check: what was found.
        command: that trains on the set.

    Raises:
        PatchebmError: the file cannot be written.
        ImageError: an image has become unreadable.
    """
    profile = check.profile
    write_page(
        path,
        "check.html",
        title=f"{check.image_set.name}: check",
        check=check,
        side=SIDE,
        listed=LISTED,
        folders=folders_table(check),
        facts=[] if profile is None else _facts(check),
        odd=[
            ShownImage(check.name_of(one.index), _small(check, one.index), one.reasons) for one in check.odd
        ],
        command=as_unicode(command),
        text=as_unicode,
    )


def folders_table(check: SetCheck) -> Table:
    """Returns how many images lie in which folder, and what they count as."""
    rows = [
        [one.folder, one.use, one.label or "unknown", one.images, one.masked, one.unusable]
        for one in check.folders
    ]
    return Table(
        "Images by folder", ["folder", "used to", "counts as", "images", "with masks", "unusable"], rows
    )


def _facts(check: SetCheck) -> list[tuple[str, str]]:
    """Returns what the images to train on are, by name."""
    training, profile = check.training, check.profile
    assert profile is not None
    low, high = profile.jpeg_quality or (0, 0)
    quality = f"{low} to {high}" if high > low else str(low)
    kinds = [
        f"{count} {kind}" + (f" at quality {quality}" if kind == "JPEG" and low else "")
        for kind, count in profile.kinds.items()
    ]
    sizes = {(one.width, one.height) for one in training.traits}
    size = f"{profile.width} x {profile.height} pixels" + (
        "" if len(sizes) == 1 else f" (median of {len(sizes)} sizes)"
    )
    brightness = [one.brightness for one in training.traits]
    return [
        ("files", ", ".join(kinds)),
        ("size", size),
        ("numbers", ", ".join(f"{count} of {name}" for name, count in training.numbers.items())),
        ("without colour", f"{profile.grey} of {profile.images}"),
        ("brightness", f"{min(brightness):.2f} to {max(brightness):.2f}, where 0 is black and 1 is white"),
        ("different photographs", f"{len(training.copies.distinct)} of {profile.images}"),
        ("known parts", str(len({one.group for one in training.good} - {None}) or "none")),
        (
            "false-alarm rate",
            f"{rate_text(check.rate)} asked for, "
            + (f"{rate_text(rate_shown_by(check.parts))} at best" if check.parts > 1 else "none is shown"),
        ),
    ]


def _small(check: SetCheck, index: int) -> Image.Image:
    pixels = Photo(check.training.good[index].path, check.training.decoding).pixels
    small = np.stack([shrunk(pixels[..., i]) for i in range(pixels.shape[2])], axis=2)
    values = np.rint(255 * small.clip(0, 1)).astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
