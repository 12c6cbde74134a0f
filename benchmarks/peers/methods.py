"""What is compared: one interface, and every method by name.

Modules of methods are imported when one is made: a process holds only what its own method needs, so that its
peak memory is that method's.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from patchebm.runtime.inputs import Image


class Method(Protocol):
    """A method is fitted on good images, then scores one image at a time, on the CPU."""

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        """Fits, and returns what a reader should know of it as JSON facts: the steps of a training, say."""
        ...

    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        """Returns the score, higher = more anomalous, and a map `(h, w)`, None if there is none."""
        ...

    def save(self, folder: Path) -> None:
        """Writes what was fitted, without the frozen backbone, into a folder that exists."""
        ...

    def load(self, folder: Path) -> None:
        """Takes back what `save` wrote."""
        ...


@dataclass(frozen=True)
class Entry:
    """A method of the comparison.

    Args:
        source: module and class of this package, and what the class is made with.
        title: what tables call it.
        seeds: how many seeds it is run with: 1 for what draws nothing, or costs too much.
        maps: whether it makes anomaly maps.
        pixels: whether it works on pixels, not on features.
        size: of the images that it sees, where it works on features.
    """

    source: tuple[str, ...]
    title: str
    seeds: int
    maps: bool
    pixels: bool = False
    size: str = "256 px"

    @property
    def input(self) -> tuple[str, str]:
        """The backbone, and the size of the images that it sees."""
        return ("none", "–") if self.pixels else ("EfficientNet-Lite0", self.size)

    @property
    def theirs(self) -> bool:
        """Whether it needs anomalib."""
        return self.source[0] in ("theirs", "trained")

    def make(self) -> Method:
        """Returns a method that is not fitted yet."""
        module, name, *arguments = self.source
        method: Method = getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)(*arguments)
        return method


def _ours(name: str, title: str, *, pixels: bool = False, size: str = "256 px") -> Entry:
    return Entry(("ours", "Ours", name), title, 3, True, pixels=pixels, size=size)


# The preset features chooses between them from good images.
CHOSEN = "256 or 384 px"


METHODS: dict[str, Entry] = {
    "brightness": Entry(("ours", "Control", "brightness"), "mean brightness", 1, False, pixels=True),
    "contrast": Entry(("ours", "Control", "contrast"), "contrast", 1, False, pixels=True),
    "untrained": _ours("untrained", "untrained network (pixels)", pixels=True),
    "gaussian": _ours("gaussian", "Gaussians alone (features)", size=CHOSEN),
    "padim": Entry(("theirs", "PaDiM"), "PaDiM (anomalib)", 1, True),
    "patchcore": Entry(("theirs", "PatchCore"), "PatchCore (anomalib), bank of 8,192", 3, True),
    "dfm": Entry(("theirs", "DFM"), "DFM (anomalib)", 1, True),
    "dfkde": Entry(("theirs", "DFKDE"), "DFKDE (anomalib)", 1, False),
    "mh-patchcore": Entry(("theirs", "MHPatchCore"), "MH-PatchCore (anomalib)", 1, True),
    "supersimplenet": Entry(("trained", "SuperSimpleNet"), "SuperSimpleNet (anomalib), 10 min", 1, True),
    "glass": Entry(("trained", "GLASS"), "GLASS (anomalib), 10 min", 1, True),
    "ganomaly": Entry(("trained", "GANomaly"), "GANomaly (anomalib), 32 px, 1 min", 1, False, pixels=True),
    "image-baseline": _ours("image-baseline", "image-baseline (ours)", pixels=True),
    "pixel-cpu": _ours("pixel-cpu", "pixel-cpu ensemble (ours)", pixels=True),
    "features": _ours("features", "features (ours)", size=CHOSEN),
    "features-fast": _ours("features-fast", "features-fast (ours)"),
}
