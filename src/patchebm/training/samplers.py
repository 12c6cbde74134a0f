"""Samplers move chains: SGLD and PYLD-M-N, both descending the energy.

A sampler never changes the energy. An energy with batch norm must be in evaluation mode when a sampler is
called, so that chains are normalised by the statistics of the data and leave no trace in them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor

from patchebm.config.training import SamplerConfig
from patchebm.energy.base import Energy, energy_gradient


@dataclass(frozen=True)
class ChainLog:
    """This class says how a batch of chains moved; a chain that does not move is a bug.

    Attributes:
        distance: root mean square change of a pixel from start to end, in units of the [-1, 1] scale.
        gradient_norm: mean L2 norm of dE/dx over all outer steps and chains.
        energy_start: mean energy before the first step.
        energy_end: mean energy before the last step (the end itself would cost one more pass).
    """

    distance: float
    gradient_norm: float
    energy_start: float
    energy_end: float


class Sampler(Protocol):
    """An object that moves a batch of chains `(B, C, H, W)` and says how they moved."""

    def __call__(self, energy: Energy, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ChainLog]:
        """Returns the moved chains `(B, C, H, W)`, detached and within bounds, and their log."""
        ...


def build_sampler(config: SamplerConfig, bound: float) -> Sampler:
    """Returns the sampler of a configuration, for views whose values lie within +-bound."""
    settings = asdict(config)
    # The loop reads these three.
    for name in ("kind", "buffer_size", "restart"):
        del settings[name]
    sampler: Sampler = config.load_target()(**settings, bound=bound)
    return sampler


def gaussian_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Returns standard normal noise of the shape and device of `like`, drawn on the generator's device.

    So one generator on the CPU gives the same chains whatever the device of the energy.
    """
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)


class Trace:
    """This class collects a `ChainLog` while chains move."""

    def __init__(self, init: Tensor) -> None:
        self._init = init
        self._norms: list[Tensor] = []
        self._energies: list[Tensor] = []

    def step(self, energy: Tensor, gradient: Tensor) -> None:
        """Takes in the energies `(B,)` and gradients `(B, C, H, W)` of a step."""
        self._energies.append(energy.mean())
        self._norms.append(gradient.flatten(1).norm(dim=1).mean())

    def log(self, end: Tensor) -> ChainLog:
        """Returns what was collected, with the end `(B, C, H, W)` of the chains."""
        return ChainLog(
            distance=float((end - self._init).detach().square().mean().sqrt()),
            gradient_norm=float(torch.stack(self._norms).mean()),
            energy_start=float(self._energies[0]),
            energy_end=float(self._energies[-1]),
        )


@dataclass(frozen=True)
class SGLD:
    """Stochastic gradient Langevin dynamics as in JEM (Grathwohl et al. 2020, arXiv 1912.03263, eq. 3).

    `x <- clamp(x - lr * dE/dx + noise * eps, -bound, bound)`, eps ~ N(0, I), with step and noise chosen
    independently of each other, as JEM does (lr 1, noise 0.01, 20 steps). Pixels are bound by 1, where JEM
    does not clamp its chains; features are bound by nothing (infinity).
    """

    steps: int = 20
    lr: float = 1.0
    noise: float = 0.01
    bound: float = 1.0

    def __call__(self, energy: Energy, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ChainLog]:
        """Moves chains `(B, C, H, W)` by `steps` full gradients."""
        trace = Trace(x)
        for _ in range(self.steps):
            value, gradient = energy_gradient(energy, x)
            trace.step(value, gradient)
            x = x - self.lr * gradient
            if self.noise:
                x = x + self.noise * gaussian_noise(x, generator)
            x = x.clamp(-self.bound, self.bound)
        return x.detach(), trace.log(x)


@dataclass(frozen=True)
class PYLD:
    """Proximal YOPO-SGLD, PYLD-M-N (Yang and Ji 2021, arXiv 2109.09032, algorithm 1).

    `outer` (M) times, one full forward and backward pass gives the co-state p = dE/dh at the first
    stage's output h; then `inner` (N) steps reuse p through the first stage alone:
    `x <- clamp(x - lr * clamp(J_first(x)^T p, -eps, eps), -1, 1)`.

    If the first stage is affine its Jacobian does not change, and because both clamps are monotone
    the N steps equal one step of size N * lr along the full gradient: only that step is
    computed. `literal` runs the loop nevertheless (to test the identity and to time it).

    Args:
        outer: full passes M, at least 1; 10 in JEM++, 20 in the thesis.
        inner: steps N with one co-state; 5 in JEM++, 10 in the thesis.
        lr: step size; 0.2 in both.
        eps: proximal bound on each pixel's gradient; 1 in both.
        noise: standard deviation of Langevin noise added after each outer step; 0 in both.
        bound: largest absolute value of a pixel, 1; infinity for features.
        literal: never use the closed form.
    """

    outer: int = 10
    inner: int = 5
    lr: float = 0.2
    eps: float = 1.0
    noise: float = 0.0
    bound: float = 1.0
    literal: bool = False

    def __call__(self, energy: Energy, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ChainLog]:
        """Moves chains `(B, C, H, W)` by `outer * inner` proximal steps."""
        trace = Trace(x)
        closed_form = energy.first_stage_is_affine and not self.literal
        for _ in range(self.outer):
            x = self._closed_form(energy, x, trace) if closed_form else self._loop(energy, x, trace)
            if self.noise:
                x = (x + self.noise * gaussian_noise(x, generator)).clamp(-self.bound, self.bound)
        return x.detach(), trace.log(x)

    def _closed_form(self, energy: Energy, x: Tensor, trace: Trace) -> Tensor:
        value, gradient = energy_gradient(energy, x)
        trace.step(value, gradient)
        return (x - self.inner * self.lr * gradient.clamp(-self.eps, self.eps)).clamp(-self.bound, self.bound)

    def _loop(self, energy: Energy, x: Tensor, trace: Trace) -> Tensor:
        with torch.no_grad():
            start = energy.first_stage(x)
        hidden = tuple(h.requires_grad_(True) for h in start)
        with torch.enable_grad():
            value = energy.rest(hidden)
            costate = torch.autograd.grad(value.sum(), hidden)
        for step in range(self.inner):
            with torch.enable_grad():
                x = x.detach().requires_grad_(True)
                (gradient,) = torch.autograd.grad(energy.first_stage(x), x, grad_outputs=costate)
            if step == 0:
                # J_first(x)^T p at the point where p was taken is the full gradient dE/dx.
                trace.step(value.detach(), gradient)
            x = (x - self.lr * gradient.clamp(-self.eps, self.eps)).detach().clamp(-self.bound, self.bound)
        return x
