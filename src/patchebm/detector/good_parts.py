"""What good parts score and show, learned from images that the energies were not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchebm.detector.level import Calibrated, Level
from patchebm.detector.one_image import guessed_heat, guessed_scores
from patchebm.detector.scorer import Scorer, combine, mean_map
from patchebm.errors import DivergedError
from patchebm.features.resize import resize
from patchebm.runtime.calibration import Calibration

# Height and width at which maps of levels meet to tell what heat good parts show.
HEAT_SIZE = (256, 256)
# Held-out images whose maps say what heat good parts show.
HEAT_MAPS = 32


class GoodParts(NamedTuple):
    """What good parts score and show.

    Attributes:
        scorer: its scores of good parts have mean 0 and standard deviation 1.
        calibration: what good parts score, the threshold, and what heat they show.
        scores: `(N,)` of the images, with what lies around the box that is inspected.
    """

    scorer: Scorer
    calibration: Calibration
    scores: NDArray[np.float64]

    @classmethod
    def learn(
        cls,
        scorer: Scorer,
        calibrated: Sequence[Calibrated],
        groups: Sequence[str | None],
        rate: float,
        pixel_rate: float,
        around: NDArray[np.float64] | None,
        *,
        single: bool = False,
    ) -> GoodParts:
        """Learn from images that the energies were not fitted on.

        Of a single image these are its versions, from which it is guessed (`detector.one_image`).

        Args:
            scorer: what its levels and weights make of the images counts; its own mean and standard deviation
                are replaced.
            calibrated: what each level found.
            groups: of the images.
            rate: of false alarms.
            pixel_rate: of false pixels.
            around: `(N,)` scores of what lies around the box that is inspected, if there is one.
            single: whether there is a single image.

        Raises:
            DivergedError: scores are not finite.
        """
        levels: dict[str, Level] = dict(scorer.levels.items())  # type: ignore[arg-type]
        columns = np.stack([one.scores for one in calibrated], axis=1)
        weights = None if scorer.weights is None else scorer.weights.cpu().double()
        combined = combine(torch.from_numpy(columns), weights).numpy()
        if not np.isfinite(combined).all():
            raise DivergedError(
                "scores of good images are not finite: the energy diverged; lower training.lr"
            )
        good = guessed_scores(combined) if single else combined
        mean, std = float(good.mean()), max(float(good.std(ddof=1)), 1e-6)
        scorer = Scorer(scorer.inputs, levels, mean, std, scorer.weights, scorer.surround)
        heat = _heat(scorer, levels, calibrated)
        if single:
            heat = guessed_heat(heat)
            groups = [None] * len(good)
        scores: NDArray[np.float64] = (combined - mean) / std
        # What is standardised are the levels alone, and so they stay when the surroundings are left out.
        own = (good - mean) / std if around is None else np.maximum(scores, around)
        calibration = Calibration.learned(
            list(levels), own, list(groups), heat.numpy(), rate, pixel_rate, guess=single
        )
        return cls(scorer, calibration, scores if around is None else own)


def _heat(scorer: Scorer, levels: dict[str, Level], calibrated: Sequence[Calibrated]) -> Tensor:
    """Return the anomaly maps of some of the images `(n, P)`, of what is inspected."""
    some = [
        level.map_of(one.grids[:HEAT_MAPS]) for level, one in zip(levels.values(), calibrated, strict=True)
    ]
    resized = [resize(maps[:, None], HEAT_SIZE)[:, 0] for maps in some]
    heat = mean_map(resized, list(levels.values())).flatten(1)
    region = scorer.inputs.region
    if region is not None:
        heat = heat[:, resize(region[None, None].cpu(), HEAT_SIZE).flatten() > 0]
    return heat
