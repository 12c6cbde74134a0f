"""This module tells whether a model in 8-bit integers computes here as where it was made.

Processors without instructions for 8-bit products may compute them otherwise, and say nothing. A model
therefore keeps what it said of one image, a pattern that everyone can draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError, ModelFileError
from patchebm.runtime.bundle import Bundle
from patchebm.runtime.engine import Engine

# How far values may be from those kept. Another processor rounds a last bit of float32 otherwise, which moves
# a value across a step of int8, and with it many that follow: scores of photographs differ by some
# hundredths of a standard deviation of good parts. Sums that overflow move all values.
RELATIVE = 0.02
OF_SCORES = 0.5
# Knuth's multiplicative hash (The Art of Computer Programming 3, section 6.4): grain without a generator,
# whose numbers a later numpy could change.
MULTIPLIER, SHIFT = 2654435761, 16


def probe_image(size: tuple[int, int]) -> NDArray[np.float32]:
    """Returns the pattern `(1, H, W, 3)` float32 in [0, 1]: grain upon a gradient."""
    height, width = size
    count = np.arange(height * width * 3, dtype=np.uint64)
    grain = ((count * MULTIPLIER) >> SHIFT & 255).reshape(1, height, width, 3)
    gradient = np.arange(width, dtype=np.uint64)[:, None] * 255 // max(1, width - 1)
    pixels: NDArray[np.float32] = ((grain + 3 * gradient) // 4).astype(np.float32) / np.float32(255)
    return pixels


def measured_probe(engine: Engine, size: tuple[int, int]) -> list[float]:
    """Returns what a bundle says of the pattern: its score and that of each level."""
    found = engine.run(probe_image(size), ["score", "levels"])
    return [float(found["score"][0]), *map(float, found["levels"][0])]


def require_probe(bundle: Bundle, engine: Engine) -> None:
    """Checks that an engine scores the pattern as the card of the bundle says.

    Args:
        bundle: one without such scores, as all at f32 are, is taken as it is.
        engine: runs its graph.

    Raises:
        ConfigError: it does not.
        ModelFileError: the card does not say it in numbers.
    """
    graph = bundle.card["graph"]
    if "probe" not in graph:
        return
    try:
        height, width = map(int, graph["size"])
        expected, made_on = list(map(float, graph["probe"])), list(map(str, graph["made_on"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{bundle.source}: its card lacks what int8 needs ({type(error).__name__}: {error}); export it "
            "again"
        ) from error
    found = measured_probe(engine, (height, width))
    require_same(found, expected, bundle.source, made_on, absolute=OF_SCORES)


def require_same(
    found: Sequence[float],
    expected: Sequence[float],
    source: str,
    made_on: Sequence[str],
    *,
    absolute: float = 0.0,
) -> None:
    """Raises ConfigError if values of the pattern are not those that were kept.

    Args:
        found: here.
        expected: where the model was made.
        source: what messages call the model.
        made_on: instructions of the processor there.
        absolute: how far values may be from those kept, beside `RELATIVE`.
    """
    if len(found) != len(expected) or not np.allclose(found, expected, atol=absolute, rtol=RELATIVE):
        kind = " ".join(made_on) or "of another kind"
        raise ConfigError(
            f"{source} computes other values on this processor than on the one that it was made on ({kind}): "
            f"{_short(found)} where that gave {_short(expected)}; train it on a processor such as this one, "
            "or with --precision f32"
        )


def _short(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
