"""The informative Gaussian as an energy: low rank plus isotropic, exact, without a d x d matrix.

JEM++ starts its chains from N(mean, Cov + floor I) of the training pictures (Yang and Ji 2021,
arXiv 2109.09032). The same distribution is an energy of its own, a Mahalanobis distance, and serves as
the reference measure that a network tilts (`patchebm.energy.tilted`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from patchebm.energy.base import Energy
from patchebm.errors import ConfigError


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
    """E(x) = 1/2 (x - mean)^T (U diag(v) U^T + floor I)^-1 (x - mean), one per grid position or one for all.

    `-log p(x) = E(x) + log_normaliser`. Fit it with `GaussianEnergy.fit`.

    Args:
        mean: `(P, d)`, one row a position (P = 1: one Gaussian for all).
        axes: `(P, r, d)` orthonormal principal axes.
        variances: `(P, r)` variances along the axes, without the floor.
        floor: `(P,)` isotropic variance added in every direction.
    """

    # The identity: the whole energy is "the rest".
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
    def fit(cls, views: Tensor, *, rank: int | None = None, floor: float = 1e-4) -> GaussianEnergy:
        """The maximum-likelihood Gaussian of training views, plus an isotropic floor.

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
            raise ConfigError("a Gaussian needs at least two views at a position; give more good pictures")
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
            spread = left_out.clamp(min=0) / directions if rank is not None else torch.zeros(())
            means.append(mean)
            axes.append(u)
            # The kept variances are those of the data; the floor comes on top of all of them.
            variances.append((v - spread).clamp(min=0))
            floors.append(spread + floor)
        r = max(len(v) for v in variances)
        pad = [r - len(v) for v in variances]
        return cls(
            torch.stack(means),
            torch.stack([torch.nn.functional.pad(u, (0, 0, 0, p)) for u, p in zip(axes, pad, strict=True)]),
            torch.stack([torch.nn.functional.pad(v, (0, p)) for v, p in zip(variances, pad, strict=True)]),
            torch.stack(floors).to(flat.dtype),
        )

    @property
    def positions(self) -> int:
        """Number of grid positions P that have a Gaussian of their own; 1 means one for all."""
        return self.mean.shape[0]

    @property
    def log_normaliser(self) -> Tensor:
        """log Z `(P,)`, with p(x) = exp(-E(x)) / Z."""
        d = self.mean.shape[1]
        total = self.variances + self.floor[:, None]
        # Padded axes have zero length and zero variance; they count as ordinary floor directions.
        log_det = total.log().sum(1) + (d - total.shape[1]) * self.floor.log()
        return 0.5 * (log_det + d * math.log(2 * math.pi))

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """The identity."""
        return (x,)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`; only for one Gaussian for all positions (else use `at`)."""
        if self.positions != 1:
            raise ValueError("this Gaussian depends on the grid position: call energy.at(position)(x)")
        x = hidden[0].flatten(1) - self.mean[0]
        coefficients = x @ self.axes[0].T
        residual = x - coefficients @ self.axes[0]
        return self._combine(coefficients, residual, self.variances[0], self.floor[0])

    def at(self, position: Tensor | None) -> Energy:
        """The energy of views at grid positions `(B,)` int64."""
        if self.positions == 1:
            return self
        if position is None:
            raise ValueError("this Gaussian depends on the grid position, and none was given")
        return _PositionedGaussian(self, position)

    def energy_at(self, x: Tensor, position: Tensor) -> Tensor:
        """Energies `(B,)` of views `(B, C, H, W)` at grid positions `(B,)`."""
        flat = x.flatten(1) - self.mean[position]
        axes = self.axes[position]
        coefficients = torch.bmm(axes, flat[:, :, None]).squeeze(2)
        residual = flat - torch.bmm(coefficients[:, None, :], axes).squeeze(1)
        return self._combine(coefficients, residual, self.variances[position], self.floor[position])

    @staticmethod
    def _combine(coefficients: Tensor, residual: Tensor, variances: Tensor, floor: Tensor) -> Tensor:
        # The residual is formed rather than taken as |x|^2 - |coefficients|^2, which cancels in float32
        # where the floor is small beside the variances.
        within = (coefficients.square() / (variances + floor[..., None])).sum(-1)
        return 0.5 * (within + residual.square().sum(-1) / floor)


class _PositionedGaussian(Energy):
    """A `GaussianEnergy` bound to the positions of one batch."""

    first_stage_is_affine = True

    def __init__(self, gaussian: GaussianEnergy, position: Tensor) -> None:
        super().__init__()
        self._gaussian = gaussian
        self._position = position

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        return self._gaussian.energy_at(hidden[0], self._position)
