"""This module names an image file and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchebm.images.names import GOOD


@dataclass(frozen=True)
class ImageFile:
    """This class names an image file and what is known of it.

    Attributes:
        path: the file.
        defect: 'good', the name of a defect, or '' if nobody said.
        masks: files that mark its defects, joined where there are several; empty if there is none.
        group: name of the physical object shown; images of one group belong on one side of a split.
    """

    path: Path
    defect: str = ""
    masks: tuple[Path, ...] = ()
    group: str | None = None

    @property
    def anomalous(self) -> bool | None:
        """Returns False for 'good', None for unknown, else True."""
        return None if self.defect == "" else self.defect != GOOD
