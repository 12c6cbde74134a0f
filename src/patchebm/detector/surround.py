"""What lies around the box that is inspected, compared with good images, coarsely.

The box keeps its cost and its detail because nothing else is looked at. A tool that lies beside the part, a
second part or a part that has moved out of the box must not go unseen for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from patchebm.features.framing import STEPS
from patchebm.features.resize import resize

# Standard deviations of good images by which what lies around the box must stand out further than what lies
# in it, so that a background that differs from image to image takes next to nothing of the stated rate.
LEAD = 2.0
# Standard deviation of a colour, of 1, that no cell falls below: rounding, compression, and a light that is
# never quite the same, though few images show that.
FLOOR = 4 / 255
# Standard deviation of energies, which are logarithms, that is taken at least: where backgrounds are the same
# to the bit, the least change would be infinitely far from them.
SPREAD = 0.2
# The variance of a cell counts as if so many more images had shown that of all cells together.
PRIOR_IMAGES = 8


class SurroundScores(NamedTuple):
    """What is found around the box.

    Attributes:
        score: `(B,)` on the scale of the ensemble's, less the lead that the box has.
        map: `(B, 64, 64)`, the same for each place around the box.
    """

    score: Tensor
    map: Tensor


class Surround(nn.Module):
    """A Gaussian of each colour at each coarse place around a box.

    Args:
        box: top, bottom, left and right of what is inspected, in 64ths of the image's sides.

    Attributes:
        mean: `(3, 64, 64)` float32, of good images in [0, 1].
        std: `(3, 64, 64)` float32.
        score_mean: of the energies of good images that the Gaussians were not fitted on.
        score_std: of the same.
    """

    outside: Tensor
    mean: Tensor
    std: Tensor
    score_mean: Tensor
    score_std: Tensor
    STATE = ("mean", "std", "score_mean", "score_std")

    def __init__(self, box: tuple[int, int, int, int]) -> None:
        super().__init__()
        top, bottom, left, right = box
        outside = torch.ones(STEPS, STEPS)
        outside[top:bottom, left:right] = 0
        self.register_buffer("outside", outside)
        for name in self.STATE:
            self.register_buffer(name, None)

    @staticmethod
    def thumbnails(images: Tensor) -> Tensor:
        """Return images `(B, H, W, 1 or 3)` in [0, 1] as `(B, 3, 64, 64)`."""
        small = resize(images.permute(0, 3, 1, 2), (STEPS, STEPS))
        return small * torch.ones(3, 1, 1, device=small.device)

    def learn(self, thumbnails: Tensor, parts: Sequence[str]) -> SurroundScores:
        """Fit to good images, and find what those score that it was not fitted on.

        Args:
            thumbnails: `(N, 3, 64, 64)` of good images.
            parts: `(N,)` the physical part that each shows; images of one part are held out together, unless
                all show the same.

        Returns:
            Of each what a fit to the images of all other parts says.
        """
        alone = len(set(parts)) == 1
        rows: dict[str | int, list[int]] = {}
        for i, part in enumerate(parts):
            # Without all images of its one part nothing would be left to compare with.
            rows.setdefault(i if alone else part, []).append(i)
        total, squares = _sums(thumbnails)
        energies = torch.zeros(len(thumbnails), STEPS, STEPS)
        for own in rows.values():
            left_out = thumbnails[own]
            less, less_squares = _sums(left_out)
            self._settle(len(thumbnails) - len(own), total - less, squares - less_squares)
            energies[own] = self._energies(left_out)
        self._settle(len(thumbnails), total, squares)
        scores = self.calibrate(energies.flatten(1).amax(1).double())
        return SurroundScores(torch.from_numpy(scores), self._standardised(energies))

    def calibrate(self, energies: Tensor) -> NDArray[np.float64]:
        """Learn what is common among energies `(N,)` of good images, and return their scores."""
        mean, std = energies.mean(), energies.std().clamp(min=SPREAD)
        self.score_mean, self.score_std = mean.float(), std.float()
        scores: NDArray[np.float64] = ((energies - mean) / std - LEAD).numpy()
        return scores

    def energy(self, thumbnails: Tensor) -> Tensor:
        """Return the energy `(B,)` of thumbnails `(B, 3, 64, 64)`: that of the oddest place."""
        return self._energies(thumbnails).flatten(1).amax(1)

    def forward(self, thumbnails: Tensor) -> SurroundScores:
        """Score thumbnails `(B, 3, 64, 64)`."""
        places = self._standardised(self._energies(thumbnails))
        return SurroundScores(places.flatten(1).amax(1), places)

    def onto(self, grid: Tensor, places: Tensor) -> Tensor:
        """Put what was found around the box onto a map `(B, 64 n, 64 m)` that shows what is in it."""
        times = (int(grid.shape[1]) // STEPS, int(grid.shape[2]) // STEPS)
        # What is as good parts have it stays as cool as the coolest place of the box.
        shown = _repeated(torch.where(places > 0, places, -1e6), times)
        return torch.where(_repeated(self.outside[None], times) > 0, torch.maximum(grid, shown), grid)

    def state(self) -> dict[str, Tensor]:
        """Return everything fitted, by name."""
        return {name: getattr(self, name) for name in self.STATE}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave. Raises KeyError or ValueError if it does not fit."""
        for name in self.STATE:
            setattr(self, name, tensors[name])
        if tuple(self.mean.shape) != (3, STEPS, STEPS):
            raise ValueError(f"what lies around the box has the shape {tuple(self.mean.shape)}")

    def _standardised(self, energies: Tensor) -> Tensor:
        return (energies - self.score_mean) / self.score_std - LEAD

    def _settle(self, images: int, total: Tensor, squares: Tensor) -> None:
        """Set mean and spread from sums over images."""
        mean = total / images
        own = (squares / images - mean.square()).clamp(min=0)
        # A part's edge is never quite where it was: a place is as uncertain as its neighbours.
        wide = max_pool2d(own[None], 3, stride=1, padding=1)[0]
        common = (wide * self.outside).sum((1, 2), keepdim=True) / self.outside.sum()
        variance = (images * wide + PRIOR_IMAGES * common) / (images + PRIOR_IMAGES)
        self.mean, self.std = mean.float(), (variance + FLOOR**2).sqrt().float()

    def _energies(self, thumbnails: Tensor) -> Tensor:
        """Return the energy of each place `(B, 64, 64)`; it is 0 in the box.

        The logarithm of one plus the mean square of standardised colours, which are 1 on average.
        """
        squared = ((thumbnails - self.mean) / self.std).square().mean(1, keepdim=True) * self.outside
        # Of the mean over a place and its neighbours around the box; a single place is noise.
        near = avg_pool2d(squared, 3, stride=1, padding=1) / avg_pool2d(
            self.outside[None, None], 3, stride=1, padding=1
        ).clamp(min=1 / 9)
        return (1 + near * self.outside)[:, 0].log()


def _sums(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of images `(N, 3, 64, 64)` and of their squares, in double precision."""
    return images.sum(0, dtype=torch.float64), images.square().sum(0, dtype=torch.float64)


def _repeated(places: Tensor, times: tuple[int, int]) -> Tensor:
    """Repeat each value of maps `(B, 64, 64)` along both sides, `(B, 64 n, 64 m)`."""
    down, right = times
    # As a product of what runtimes have: OpenVINO cannot read the resize that PyTorch exports for it.
    wide = places[:, :, None, :, None] * torch.ones(down, 1, right, device=places.device)
    return wide.reshape(-1, STEPS * down, STEPS * right)
