"""What decides one fit of an energy, and the training of its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchebm.energy import Energy

if TYPE_CHECKING:
    from patchebm.config.features import CellNetworkConfig
    from patchebm.config.pixels import WideResNetConfig


@dataclass(frozen=True)
class FitTask:
    """Which images an energy is fitted on, and how its network is trained.

    Attributes:
        chosen: numbers of the images.
        seed: decides everything random.
        label: for the progress bar.
        folder: for checkpoints and logs; None keeps nothing.
        device: where the network trains.
        devices: how many of the device's kind train it.
    """

    chosen: NDArray[np.int64]
    seed: int
    label: str
    folder: Path | None
    device: torch.device
    devices: int = 1

    def train(
        self,
        energy: Energy,
        draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]],
        config: CellNetworkConfig | WideResNetConfig,
        *,
        shape: tuple[int, ...],
        sample: Callable[[], Tensor],
        bound: float,
    ) -> None:
        """Train the network of an energy, which is left ready to score.

        Args:
            energy: whose network is trained.
            draw: draws normal views and the position of each.
            config: of the network.
            shape: `(C, h, w)` of a view.
            sample: returns normal views that may be changed, for negatives that need them.
            bound: the largest absolute value of a view.

        Raises:
            TrainingError: the energy diverged for good, or a checkpoint cannot be read.
        """
        # Imported here, so that scoring imports no trainer.
        from patchebm.training.fit import fit_network
        from patchebm.training.negatives import build_negatives

        fit_network(
            energy,
            draw,
            build_negatives(config.negatives, draw, shape=shape, sample=sample, bound=bound),
            training=config.training,
            sampler=config.sampler,
            bound=bound,
            images=len(self.chosen),
            seed=self.seed,
            label=self.label,
            folder=self.folder,
            device=self.device,
            devices=self.devices,
        )
