"""Whether a bundle scores as the detector that it was exported from: numbers, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.reading import read_image
from patchebm.runtime.prediction import Prediction

Pixels = NDArray[np.float32]
Predict = Callable[[list[Pixels]], list[Prediction]]

# Images compared, and how many of them in each hard version, too.
SAMPLE = 24
CORRUPTED = 6

# At f32 the two differ by rounding alone: .01 is a hundredth of the spread of good parts.
MAX_DIFFERENCE = 0.01
# Below f32 scores move; what must hold is what they are used for: verdicts, and the order of images.
MIN_AGREEMENT = 0.99
MIN_RANK_CORRELATION = 0.99
# Both hold easily on a sample of good images and corrupted ones. Models that were trained at f32 and exported
# at int8, which passed them and whose scores moved by .05 to .28 typically, flipped up to 4 % of the verdicts
# on test images and moved AUROC by up to .012.
MAX_TYPICAL_DIFFERENCE = 0.02


@dataclass(frozen=True)
class Parity:
    """How far a bundle is from its detector.

    Attributes:
        images: compared, hard versions included.
        score_difference: largest difference of scores, in standard deviations of good parts.
        score_difference_typical: its median.
        map_difference: largest difference of any pixel of the anomaly maps, in the same unit.
        verdict_flips: images with another verdict.
        rank_correlation: Spearman's, of the scores of all images.
    """

    images: int
    score_difference: float
    score_difference_typical: float
    map_difference: float
    verdict_flips: int
    rank_correlation: float

    def record(self) -> dict[str, Any]:
        """For the card: two digits, which rounding on another machine leaves as they are."""
        return {
            key: float(f"{value:.2g}") if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.images} images: scores differ by {self.score_difference:.2g} at most "
            f"({self.score_difference_typical:.2g} typically), anomaly maps by {self.map_difference:.2g}, "
            f"{self.verdict_flips} verdicts differ, rank correlation {self.rank_correlation:.4f}"
        )

    def complaint(self, precision: str) -> str | None:
        """What is out of tolerance at this precision, or None."""
        # In int8 the detector itself computes by the graph that is exported.
        if precision in ("f32", "int8"):
            if self.score_difference > MAX_DIFFERENCE:
                return f"scores differ by more than {MAX_DIFFERENCE:g}"
            if self.map_difference > MAX_DIFFERENCE:
                return f"anomaly maps differ by more than {MAX_DIFFERENCE:g}"
            return "verdicts differ" if self.verdict_flips else None
        if self.verdict_flips > (1 - MIN_AGREEMENT) * self.images:
            return f"fewer than {MIN_AGREEMENT:.0%} of the verdicts agree"
        if self.rank_correlation < MIN_RANK_CORRELATION:
            return f"the rank correlation is below {MIN_RANK_CORRELATION:g}"
        if self.score_difference_typical > MAX_TYPICAL_DIFFERENCE:
            return f"scores typically differ by more than {MAX_TYPICAL_DIFFERENCE:g}"
        return None


def compare(reference: Predict, other: Predict, images: Iterator[Pixels]) -> Parity:
    """Score images by both and compare, one at a time.

    Args:
        reference: of the detector.
        other: of the bundle.
        images: `(H, W, 1 or 3)` float32 in [0, 1].
    """
    scores, verdicts, maps = [], [], []
    for image in images:
        (a,), (b,) = reference([image]), other([image])
        scores.append((a.score, b.score))
        verdicts.append(a.anomalous != b.anomalous)
        assert a.heat_map is not None
        assert b.heat_map is not None
        maps.append(float(np.abs(a.heat_map - b.heat_map).max()))
    first, second = np.array(scores).T
    differences = np.abs(first - second)
    return Parity(
        images=len(scores),
        score_difference=float(differences.max()),
        score_difference_typical=float(np.median(differences)),
        map_difference=max(maps),
        verdict_flips=sum(verdicts),
        rank_correlation=_spearman(first, second),
    )


def hard_images(paths: Sequence[Path], decoding: Decoding = STANDARD, seed: int = 0) -> Iterator[Pixels]:
    """A sample of images, and hard versions of some: noise, blur, a pasted piece, black and white.

    Args:
        paths: files.
        decoding: what their numbers mean.
        seed: draws noise and places.
    """
    generator = np.random.default_rng(seed)
    chosen = evenly(paths, SAMPLE)
    for path in chosen:
        yield read_image(path, decoding)
    for path in evenly(chosen, CORRUPTED):
        image = read_image(path, decoding)
        yield from corrupted(image, generator)


def corrupted(image: Pixels, generator: np.random.Generator) -> Iterator[Pixels]:
    """Noise, blur, a pasted piece, black and white instead of the image."""
    noise = generator.normal(0, 0.2, image.shape).astype(np.float32)
    yield np.clip(image + noise, 0, 1)
    planes = [
        Image.fromarray(np.rint(image[:, :, c] * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(4))
        for c in range(image.shape[2])
    ]
    yield np.stack([np.asarray(plane, dtype=np.float32) / 255 for plane in planes], axis=2)
    height, width = image.shape[:2]
    h, w = max(1, height // 4), max(1, width // 4)
    (top, bottom), (left, right) = (generator.integers(0, n - k + 1, 2) for n, k in ((height, h), (width, w)))
    pasted = image.copy()
    pasted[bottom : bottom + h, right : right + w] = image[top : top + h, left : left + w]
    yield pasted
    yield np.zeros_like(image)
    yield np.ones_like(image)


def evenly(paths: Sequence[Path], most: int) -> list[Path]:
    """At most so many, evenly from the first to the last."""
    if len(paths) <= most:
        return list(paths)
    return [paths[i] for i in np.linspace(0, len(paths) - 1, most).round().astype(int)]


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; equal scores share their mean rank."""
    a, b = _ranks(first), _ranks(second)
    if a.std() == 0 or b.std() == 0:
        return 1.0 if np.array_equal(a, b) else 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks
