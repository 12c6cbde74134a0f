"""This module says what an engine does that runs the graph of a bundle, and names the graph's ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ModelFileError

Precision = Literal["f32", "bf16", "int8"]
Tensors = dict[str, NDArray[np.float32]]
"""Outputs of a graph by name."""

CPU = "cpu"
"""The provider that every runtime has."""

INPUT = "images"
PREPARED = "prepared"
# Small images `(N, 3, 64, 64)`, of models that compare what lies around the box that is inspected.
THUMBNAILS = "thumbnails"
IMAGE_SIZE = "image_size"
# Optional input of the ONNX graph, `(1,)` int64: no map is larger than this, in pixels along a side.
LARGEST_MAP = "largest_map"


class Engine(Protocol):
    """This class runs a graph; several threads may call it at once, and it can be pickled."""

    def run(self, images: NDArray[np.float32], outputs: Sequence[str]) -> Tensors:
        """Returns the named outputs for images `(N, H, W, 1 or 3)` float32 in [0, 1], C-contiguous."""
        ...


def is_map(output: str) -> bool:
    """Says whether an output has the images' own size."""
    return output == "heat_map" or output.startswith("map_")


def unreadable_graph(source: str, error: Exception) -> ModelFileError:
    """Returns the error to raise when a runtime cannot take a graph; `source` is what it calls the graph."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return ModelFileError(
        f"{Path(source)}: its graph cannot be run ({line:.120}); export it again, or update the runtime"
    )
