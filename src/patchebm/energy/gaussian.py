"""The informative Gaussian as an energy: low rank plus isotropic, exact, without a d x d matrix.

JEM++ starts its chains from N(mean, Cov + floor I) of the training images (Yang and Ji 2021,
arXiv 2109.09032). The same distribution is an energy of its own, a Mahalanobis distance, and serves as
the reference measure that a network tilts (`patchebm.energy.tilted`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from patchebm.energy.base import Energy, Position
from patchebm.energy.fused import local_gradient, positive_log, strongest
from patchebm.errors import ConfigError

if TYPE_CHECKING:
    from patchebm.config.features import GaussianConfig


def principal_components(centred: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """Principal axes and variances of centred rows, by the smaller of the two Gram matrices.

    Args:
        centred: `(n, d)` with zero column means.
        rank: how many axes at most; None keeps all that carry variance.

    Returns:
        Orthonormal axes `(r, d)` and the variances along them `(r,)`, largest first, with divisor n,
        r <= min(n - 1, d). Neither a d x d matrix for n <= d nor an n x n one for n > d is formed.
    """
    n, d = centred.shape
    # Eigenvalues of a Gram matrix lose half of the digits; double precision gives them back.
    wide = centred.double()
    gram = wide @ wide.T if n <= d else wide.T @ wide
    values, vectors = torch.linalg.eigh(gram / n)
    values, vectors = values.flip(0), vectors.flip(1)
    # Directions below this carry rounding errors, not variance.
    kept = values > values[0].clamp(min=1e-30) * 1e-10
    values, vectors = values[kept], vectors[:, kept]
    if rank is not None:
        values, vectors = values[:rank], vectors[:, :rank]
    axes = (vectors.T @ wide) / (values * n).sqrt()[:, None] if n <= d else vectors.T
    return axes.to(centred.dtype), values.to(centred.dtype)


class GaussianEnergy(Energy):
    """E(x) = 1/2 (x - mean)^T (U diag(v) U^T + floor I)^-1 (x - mean), one for all views or several.

    Each view has a position, the number of its Gaussian: its grid position where each has a Gaussian of its
    own, and, while a network trains on cross-fitted Gaussians, further ones for each fold.

    `-log p(x) = E(x) + log_normaliser`. Fit it with `GaussianEnergy.fit` or `fit_positions`.

    Args:
        mean: `(P, d)`, one row a position (P = 1: one Gaussian for all).
        axes: `(P, r, d)` orthonormal principal axes.
        variances: `(P, r)` variances along the axes, without the floor.
        floor: `(P,)` isotropic variance added in every direction.
    """

    # The identity: the whole energy is the rest.
    first_stage_is_affine = True

    mean: Tensor
    axes: Tensor
    variances: Tensor
    floor: Tensor

    def __init__(self, mean: Tensor, axes: Tensor, variances: Tensor, floor: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("axes", axes)
        self.register_buffer("variances", variances)
        self.register_buffer("floor", floor)

    @classmethod
    def fit(cls, views: Tensor, config: GaussianConfig, generator: torch.Generator) -> GaussianEnergy:
        """Fit one Gaussian to normal views `(n, C, h, w)`; see `fit_positions`."""
        del generator
        return cls.fit_positions(views[None], rank=config.rank, floor=config.floor)

    @classmethod
    def fit_positions(cls, views: Tensor, *, rank: int | None = None, floor: float = 1e-4) -> GaussianEnergy:
        """Fit the maximum-likelihood Gaussian of each position's views, plus an isotropic floor.

        With `rank` given, the variance of the directions left out is spread evenly over them
        (probabilistic PCA, Tipping and Bishop 1999), so that they still count.

        Args:
            views: `(P, n, C, H, W)` float32: n views at each of P positions, n >= 2.
            rank: principal axes kept; None keeps all, which is exactly N(mean, Cov + floor I).
            floor: isotropic variance in squared pixel units ([-1, 1] scale); JEM++ uses 1e-4.

        Raises:
            ConfigError: fewer than two views, or a floor that is not positive.
        """
        if views.ndim != 5 or views.shape[1] < 2:
            raise ConfigError("a Gaussian needs at least two views at a position; give more good images")
        if not floor > 0:
            raise ConfigError(f"gaussian floor {floor} is not positive; use for instance 1e-4")
        flat = views.flatten(2)
        means, axes, variances, floors = [], [], [], []
        for rows in flat:
            mean = rows.mean(0)
            centred = rows - mean
            u, v = principal_components(centred, rank)
            left_out = centred.square().mean(0).sum() - v.sum()
            directions = max(1, rows.shape[1] - len(v))
            rest = left_out.clamp(min=0) / directions if rank is not None else left_out.new_zeros(())
            means.append(mean)
            axes.append(u)
            # The kept variances are those of the data; the floor comes on top of all of them.
            variances.append((v - rest).clamp(min=0))
            floors.append(rest + floor)
        parts = [
            cls(mean[None], u[None], v[None], f[None].to(flat.dtype))
            for mean, u, v, f in zip(means, axes, variances, floors, strict=True)
        ]
        return cls.concatenate(parts)

    @classmethod
    def concatenate(cls, parts: Sequence[GaussianEnergy]) -> GaussianEnergy:
        """Put the Gaussians of several fits behind each other; positions count on from part to part."""
        r = max(part.axes.shape[1] for part in parts)

        def padded(tensor: Tensor, axis: int) -> Tensor:
            missing = r - tensor.shape[1]
            return functional.pad(tensor, (0, 0, 0, missing) if axis == 3 else (0, missing))

        return cls(
            torch.cat([part.mean for part in parts]),
            torch.cat([padded(part.axes, 3) for part in parts]),
            torch.cat([padded(part.variances, 2) for part in parts]),
            torch.cat([part.floor for part in parts]),
        )

    @property
    def positions(self) -> int:
        """Number of Gaussians P that this energy chooses from; 1 means one for all views."""
        return self.mean.shape[0]

    @property
    def log_normaliser(self) -> Tensor:
        """log Z `(P,)`, with p(x) = exp(-E(x)) / Z."""
        d = self.mean.shape[1]
        total = self.variances + self.floor[:, None]
        # Padded axes have zero length and zero variance; they count as ordinary floor directions.
        log_det = total.log().sum(1) + (d - total.shape[1]) * self.floor.log()
        return 0.5 * (log_det + d * math.log(2 * math.pi))

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`; only for one Gaussian for all positions (else use `at`)."""
        if self.positions != 1:
            raise ValueError("this Gaussian depends on the grid position: call energy.at(position)(x)")
        return self.energy_at(hidden[0], None)

    def at(self, position: Position | None) -> Energy:
        """Bind the energy to the positions of a batch; a slice of them is not copied."""
        if self.positions == 1:
            return self
        if position is None:
            raise ValueError("this Gaussian depends on the grid position, and none was given")
        return _PositionedGaussian(self, position)

    def split(self, x: Tensor, position: Position | None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Split views into what the principal axes explain and the rest.

        Args:
            x: `(B, C, H, W)`.
            position: `(B,)` which Gaussian; None for the only one.

        Returns:
            Coefficients `(B, r)`, residual `(B, d)`, axes `(B or 1, r, d)`, variances `(B or 1, r)` and
            floor `(B or 1, 1)`.
        """
        chosen = slice(0, 1) if position is None or self.positions == 1 else position
        centred = x.flatten(1) - self.mean[chosen]
        axes, variances, floor = self.axes[chosen], self.variances[chosen], self.floor[chosen][:, None]
        # The residual is formed rather than its square taken as |x|^2 - |coefficients|^2, which cancels
        # in float32 where the floor is small beside the variances.
        if len(axes) == 1:
            coefficients = centred @ axes[0].T
            return coefficients, centred - coefficients @ axes[0], axes, variances, floor
        coefficients = torch.bmm(axes, centred[:, :, None]).squeeze(2)
        residual = centred - torch.bmm(coefficients[:, None, :], axes).squeeze(1)
        return coefficients, residual, axes, variances, floor

    def energy_at(self, x: Tensor, position: Position | None) -> Tensor:
        """Energies `(B,)` of views `(B, C, H, W)` under the Gaussians `(B,)`."""
        coefficients, residual, _, variances, floor = self.split(x, position)
        within = (coefficients.square() / (variances + floor)).sum(1)
        return 0.5 * (within + residual.square().sum(1) / floor.squeeze(1))

    def components(self, x: Tensor, position: Position | None = None, *, gradient: bool = False) -> Tensor:
        """Return the logarithm of the energy, or of its strongest local gradient, `(B, 1)`."""
        if gradient:
            return strongest(local_gradient(self.gradient_at(x, position)))
        return positive_log(self.energy_at(x, position))[:, None]

    def localise(self, x: Tensor) -> Tensor:
        """Return the log local gradient `(B, H, W)`, in closed form."""
        return positive_log(local_gradient(self.gradient_at(x, None)))

    def gradient_at(self, x: Tensor, position: Position | None) -> Tensor:
        """dE/dx `(B, C, H, W)` in closed form: (Cov + floor I)^-1 (x - mean), which is affine in x."""
        coefficients, residual, axes, variances, floor = self.split(x, position)
        scaled = coefficients / (variances + floor)
        within = scaled @ axes[0] if len(axes) == 1 else torch.bmm(scaled[:, None, :], axes).squeeze(1)
        # Whole numbers are constants of a graph.
        return (within + residual / floor).reshape(-1, *map(int, x.shape[1:]))


class _PositionedGaussian(Energy):
    """A `GaussianEnergy` bound to the positions of one batch."""

    first_stage_is_affine = True

    def __init__(self, gaussian: GaussianEnergy, position: Position) -> None:
        super().__init__()
        self._gaussian = gaussian
        self._position = position

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        return self._gaussian.energy_at(hidden[0], self._position)
