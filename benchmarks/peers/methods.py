"""What is compared: one interface, and every method by name.

Modules of methods are imported when one is made: a process holds only what its own method needs, so that its
peak memory is that method's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from patchebm.detector.reading import Image


class Method(Protocol):
    """Fitted on good images, then scores one image at a time."""

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        """Fit. Returns what a reader should know of it, as JSON facts: the steps of a training, say."""
        ...

    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        """The score, higher = more anomalous, and a map `(h, w)`; None if not asked for or not to be had."""
        ...

    def state_bytes(self) -> int:
        """Bytes of what was fitted, without the frozen backbone."""
        ...


@dataclass(frozen=True)
class Entry:
    """A method of the comparison.

    Args:
        make: gives a new one.
        title: what tables call it.
        seeds: how many seeds it is run with: 1 for what draws nothing, or costs too much.
        maps: whether it says where.
    """

    make: Callable[[], Method]
    title: str
    seeds: int
    maps: bool


def _made(module: str, name: str, *arguments: Any) -> Callable[[], Method]:
    def make() -> Method:
        found: Method = getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)(*arguments)
        return found

    return make


METHODS: dict[str, Entry] = {
    "brightness": Entry(_made("ours", "Control", "brightness"), "mean brightness", 1, False),
    "contrast": Entry(_made("ours", "Control", "contrast"), "contrast", 1, False),
    "untrained": Entry(_made("ours", "Ours", "untrained"), "untrained network (pixels)", 3, True),
    "gaussian": Entry(_made("ours", "Ours", "gaussian"), "Gaussian alone (features)", 3, True),
    "padim": Entry(_made("theirs", "PaDiM"), "PaDiM (anomalib)", 1, True),
    "patchcore": Entry(_made("theirs", "PatchCore"), "PatchCore (anomalib), bank of 8,192", 3, True),
    "dfm": Entry(_made("theirs", "DFM"), "DFM (anomalib)", 1, True),
    "dfkde": Entry(_made("theirs", "DFKDE"), "DFKDE (anomalib)", 1, False),
    "ganomaly": Entry(_made("theirs", "GANomaly"), "GANomaly (anomalib), 32 px", 1, False),
    "image-baseline": Entry(_made("ours", "Ours", "image-baseline"), "image-baseline (ours)", 3, True),
    "pixel-cpu": Entry(_made("ours", "Ours", "pixel-cpu"), "pixel-cpu ensemble (ours)", 3, True),
    "features": Entry(_made("ours", "Ours", "features"), "features ensemble (ours)", 3, True),
}
