"""This module holds all that a check of an image set found, as a page, a terminal and a program take it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from patchebm.check.findings import distinct_images, find_all
from patchebm.check.rate import parts_shown
from patchebm.check.reading import CheckedTest, CheckedTraining, read_set
from patchebm.check.thumbnails import OddOne, oddest
from patchebm.config.base import RunConfig
from patchebm.files import as_unicode
from patchebm.images.decoding import Decoding
from patchebm.images.findings import Finding
from patchebm.images.folders import ImageSet
from patchebm.images.profile import Profile
from patchebm.images.region import Region
from patchebm.provenance import name_below
from patchebm.runtime.threshold import rate_shown_by

SHOWN = 12
"""So many of the oddest images are shown."""


@dataclass(frozen=True)
class FolderCount:
    """This class counts the images of one folder.

    Attributes:
        folder: below that of the set, "." for itself.
        use: "train" or "test".
        label: "good", the name of a defect, or "" for unknown.
        images: that lie directly in it.
        masked: how many of these have masks.
        unusable: how many of these cannot be used.
    """

    folder: str
    use: str
    label: str
    images: int
    masked: int
    unusable: int


@dataclass(frozen=True)
class SetCheck:
    """This class holds what was found.

    Attributes:
        image_set: that was checked.
        training, test: what was read of it.
        rate: the false-alarm rate asked for.
        folders: counts of images.
        findings: errors first.
        odd: the images that differ most as a whole, by their index among the good ones of `training`.
    """

    image_set: ImageSet
    training: CheckedTraining
    test: CheckedTest
    rate: float
    folders: Sequence[FolderCount]
    findings: Sequence[Finding]
    odd: Sequence[OddOne]

    @property
    def trainable(self) -> bool:
        """Whether nothing was found that stops training."""
        return not any(finding.weight == "error" for finding in self.findings)

    @property
    def parts(self) -> int:
        """How many different parts the images to train on show, as far as that is known."""
        return parts_shown([image.group for image in distinct_images(self.training)])

    @property
    def profile(self) -> Profile | None:
        """What the images to train on have in common; None if none can be read."""
        return Profile.of(self.training.traits) if self.training.traits else None

    def name_of(self, index: int) -> str:
        """Returns the name of a good training image, below the folder of the set."""
        return as_unicode(name_below(self.training.good[index].path, self.image_set.root))

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON can hold it."""
        profile = self.profile
        return {
            "image_set": self.image_set.name,
            "data": as_unicode(str(self.image_set.root)),
            "trainable": self.trainable,
            "false_alarm_rate": self.rate,
            "supported_rate": rate_shown_by(self.parts) if self.parts > 1 else None,
            "images": {
                "train": len(self.image_set.train),
                "usable": len(self.training.good),
                "distinct": len(self.training.copies.distinct),
                "parts": self.parts,
                "test": len(self.image_set.test),
            },
            "numbers": dict(self.training.numbers),
            "profile": None if profile is None else profile.to_dict(),
            "decoding": self.training.decoding.to_dict(),
            "folders": [asdict(one) for one in self.folders],
            "findings": [
                {
                    "kind": one.kind,
                    "weight": one.weight,
                    "sentence": as_unicode(one.sentence),
                    "fix": as_unicode(one.fix),
                    "files": [as_unicode(line) for line in one.files],
                }
                for one in self.findings
            ],
            "oddest": [{"image": self.name_of(one.index), "reasons": list(one.reasons)} for one in self.odd],
        }


def check_set(
    image_set: ImageSet,
    config: RunConfig,
    decoding: Decoding,
    region: Region | None = None,
    *,
    skip_bad: bool = False,
    tick: Callable[[], object] = lambda: None,
) -> SetCheck:
    """Reads an image set and returns what a user should know of it before training.

    Args:
        image_set: lists the images.
        config: of the training that is planned.
        decoding: what the numbers of files mean, as far as a user has said it.
        region: the region of interest, if there is one.
        skip_bad: whether unreadable images are to be left out.
        tick: called for each image.
    """
    training, test = read_set(image_set, decoding, tick)
    chosen = training.copies.distinct
    odd = oddest([training.traits[i] for i in chosen], training.thumbnails[chosen], SHOWN)
    return SetCheck(
        image_set,
        training,
        test,
        config.false_alarm_rate,
        _folders(image_set, training, test),
        find_all(image_set, training, test, config, region, skip_bad=skip_bad),
        [OddOne(chosen[one.index], one.reasons) for one in odd],
    )


def _folders(image_set: ImageSet, training: CheckedTraining, test: CheckedTest) -> list[FolderCount]:
    found = []
    for use, images, bad in (("train", image_set.train, training.bad), ("test", image_set.test, test.bad)):
        unusable = {image.path for image, _ in bad}
        counts: dict[tuple[str, str], Counter[str]] = {}
        for image in images:
            folder = as_unicode(name_below(image.path.parent, image_set.root))
            count = counts.setdefault((folder, image.defect), Counter())
            count["images"] += 1
            count["masked"] += bool(image.masks)
            count["unusable"] += image.path in unusable
        found += [
            FolderCount(folder, use, label, count["images"], count["masked"], count["unusable"])
            for (folder, label), count in counts.items()
        ]
    return found
