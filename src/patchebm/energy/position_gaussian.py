"""A Gaussian for every position of a feature map: what is normal depends on where it is.

PaDiM's energy (Defard et al. 2021, arXiv 2011.08785), with moments that are pooled over neighbouring
positions, so that few images are enough, and covariances that are shared by the positions of a zone, so
that the state stays small.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from patchebm.energy.base import Energy
from patchebm.energy.fused import positive_log
from patchebm.energy.moments import Moments

# Share of the covariance of all zones in that of each, and variance added in every direction, relative to
# the mean variance: with 20 images a zone has fewer views than directions.
POOLED, FLOOR = 0.2, 0.1
# Zones whose covariances are computed at once: what bounds the memory beside the result.
BLOCK = 32
# Blocks of rows into which the triangular factors are cut. The zeros to the right of a block are neither
# kept nor multiplied: with four blocks, three eighths of a factor. Reading the factors from memory is what
# takes the time.
ROW_BLOCKS = 4


class PositionGaussian(Energy):
    """E(x) = 1/2 sum over positions p of |L_r(p)^-1 (x_p - mean_p)|^2, of whole maps `(B, C, h, w)`.

    `L_r` is the Cholesky factor of the covariance of the zone in which a position lies.

    Args:
        mean: `(C, h, w)`.
        whitening: `(R, C, C)`, the inverses of the Cholesky factors.
        zones: `(2,)` int64, rows and columns of zones.
    """

    first_stage_is_affine = True

    mean: Tensor
    zones: Tensor

    def __init__(self, mean: Tensor, whitening: Tensor, zones: Tensor) -> None:
        super().__init__()
        # Rounded to half precision, in which it is kept, and computed with in single precision.
        self.register_buffer("mean", mean.half().float())
        self.register_buffer("zones", zones)
        self._shape = (int(zones[0]), int(zones[1]), *mean.shape)
        self._blocks = [
            (int(rows[0]), int(rows[-1]) + 1)
            for rows in torch.arange(len(mean)).tensor_split(ROW_BLOCKS)
            if len(rows)
        ]
        for number, (begin, end) in enumerate(self._blocks):
            # (R, 1, C', c), a block of rows as columns: rows of residuals are then rows of cells times it.
            factor = whitening[:, None, begin:end, :end].transpose(2, 3)
            self.register_buffer(f"factor{number}", factor.half().float().contiguous())

    @property
    def whitening(self) -> Tensor:
        """The inverses of the Cholesky factors, `(R, C, C)`."""
        (rows, columns, channels, _, _), device = self._shape, self.mean.device
        whole = torch.zeros(rows * columns, channels, channels, device=device)
        for (begin, end), factor in zip(self._blocks, self._factors(), strict=True):
            whole[:, begin:end, :end] = factor[:, 0].transpose(1, 2)
        return whole

    @classmethod
    def from_moments(cls, moments: Moments, without: Moments | None = None) -> PositionGaussian:
        """Fit the Gaussians to the maps behind the moments.

        Means and second moments of a position are those of its 3 x 3 neighbours; the covariance of a zone
        is the mean of those of its positions, and is shrunk towards that of all zones.

        Args:
            moments: of all maps.
            without: of those of them that are not fitted on.
        """
        (height, width), (rows, columns) = moments.grid, moments.zones
        channels = len(moments.shift)
        first, count = moments.first, moments.count
        if without is not None:
            first, count = first - without.first, count - without.count
        mean = (first / count).T.reshape(1, channels, height, width)
        mean = avg_pool2d(mean, 3, stride=1, padding=1, count_include_pad=False)[0]
        h, w = height // rows, width // columns
        # The means of each zone's positions, (R, h * w, C).
        own = mean.reshape(channels, rows, h, columns, w).permute(1, 3, 2, 4, 0).reshape(-1, h * w, channels)
        covariance = torch.empty(moments.second.shape, device=mean.device)
        blocks = [slice(begin, begin + BLOCK) for begin in range(0, len(covariance), BLOCK)]
        for zone in blocks:
            second = moments.second[zone]
            if without is not None:
                second = second - without.second[zone]
            squared = own[zone].transpose(1, 2) @ own[zone]
            covariance[zone] = ((second / count - squared) / (h * w)).float()
        pooled = covariance.mean(0)
        # Images without any variance must not overflow half precision: 1e-8 makes factors of 1e4.
        floor = (FLOOR * pooled.diagonal().mean()).clamp(min=1e-8)
        eye = torch.eye(channels, device=mean.device)
        for zone in blocks:
            shrunk = (1 - POOLED) * covariance[zone] + POOLED * pooled + floor * eye
            factor = torch.linalg.cholesky(shrunk)
            # The inverse factors take the place of the covariances.
            covariance[zone] = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        shifted = mean.float() + moments.shift[:, None, None]
        return cls(shifted, covariance, torch.tensor([rows, columns]))

    def residuals(self, x: Tensor) -> Tensor:
        """Whiten the cells of maps `(B, C, h, w)`, each by its Gaussian; the level's network is given this.

        Returns:
            `(R, B, p, C)`, of each zone and image the residuals of its p cells; `on_grid` brings values of
            them to their places.
        """
        return self._white(self._by_zone(x))

    def residuals_together(self, x: Tensor) -> Tensor:
        """Whiten the cells of maps `(B, C, h, w)` as `residuals` does, all of a zone in one product.

        That is faster for several maps; how the last digits are rounded depends on how many there are.
        """
        cells = self._by_zone(x)
        zones, images, positions, channels = cells.shape
        together = self._white(cells.reshape(zones, 1, images * positions, channels))
        return together.reshape(zones, images, positions, channels)

    def on_grid(self, values: Tensor) -> Tensor:
        """Bring values of cells `(R, B, p, K)`, ordered as `residuals`, to their places, `(B, K, h, w)`."""
        rows, columns, _, height, width = self._shape
        h, w, k = height // rows, width // columns, int(values.shape[3])
        placed = values.reshape(rows, columns, -1, h, w, k).permute(2, 5, 0, 3, 1, 4)
        return placed.reshape(-1, k, height, width)

    def _by_zone(self, x: Tensor) -> Tensor:
        """Centre maps `(B, C, h, w)`, and take their cells zone by zone, `(R, B, p, C)`."""
        rows, columns, channels, height, width = self._shape
        h, w = height // rows, width // columns
        # Two transpositions, of matrices and of runs of cells, which runtimes do faster than both in one.
        cells = (x - self.mean).reshape(-1, channels, height * width).transpose(1, 2)
        by_zone = cells.reshape(-1, rows, h, columns, w, channels).permute(1, 3, 0, 2, 4, 5)
        return by_zone.reshape(rows * columns, -1, h * w, channels)

    def _factors(self) -> list[Tensor]:
        return [getattr(self, f"factor{number}") for number in range(len(self._blocks))]

    def _white(self, cells: Tensor) -> Tensor:
        """Whiten centred cells `(R, B, p, C)` of each zone."""
        ends = (end for _, end in self._blocks)
        return torch.cat(
            [cells[..., :end] @ factor for end, factor in zip(ends, self._factors(), strict=True)], dim=3
        )

    def packed(self) -> dict[str, Tensor]:
        """Return the state in half precision, of the triangles what is not zero."""
        whitening = self.whitening.cpu()
        low = torch.tril_indices(*whitening.shape[1:])
        return {
            "mean": self.mean.cpu().half(),
            "triangles": whitening[:, low[0], low[1]].half(),
            "zones": self.zones.cpu(),
        }

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor]) -> PositionGaussian:
        """Take back what `packed` gave. Raises KeyError, ValueError or RuntimeError if it does not fit."""
        mean, triangles, zones = (tensors[name] for name in ("mean", "triangles", "zones"))
        channels = mean.shape[0]
        low = torch.tril_indices(channels, channels)
        whitening = torch.zeros(len(triangles), channels, channels)
        whitening[:, low[0], low[1]] = triangles.float()
        if len(triangles) != int(zones.prod()):
            raise ValueError(f"{len(triangles)} covariances for {zones.tolist()} zones")
        return cls(mean, whitening, zones)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`."""
        return 0.5 * self.residuals(hidden[0]).square().sum((0, 2, 3))

    def localise(self, x: Tensor) -> Tensor:
        """Return `log(|r_p|^2 / C)` of the residual r at each position, `(B, h, w)`."""
        return self.on_grid(positive_log(self.residuals(x).square().mean(3, keepdim=True)))[:, 0]


def zones_for(grid: tuple[int, int], most: int) -> tuple[int, int]:
    """Return how many rows and columns of zones divide a grid evenly, at most `most` each."""
    rows, columns = (max(n for n in range(1, most + 1) if side % n == 0) for side in grid)
    return rows, columns
