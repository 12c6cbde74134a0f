"""A fitted energy as JSON facts and tensors, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from patchebm.config.schema import EnergyConfig
from patchebm.detector.member import build_network
from patchebm.detector.scoring import Member
from patchebm.energy import (
    CellsEnergy,
    Energy,
    GaussianEnergy,
    MixtureEnergy,
    ResidualEnergy,
    TiltedEnergy,
    Whitening,
)
from patchebm.energy.activation import Activation

_GAUSSIAN = ("mean", "axes", "variances", "floor")
_MIXTURE = ("centres", "log_weights", "variance")


def member_state(member: Member) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and tensors of a fitted member."""
    energy = member.energy
    facts: dict[str, Any] = {}
    if isinstance(energy, TiltedEnergy):
        facts = {"weight": energy.weight, "offset": energy.offset}
    tensors = dict(energy.state_dict())
    if member.whitening is not None:
        tensors |= {f"whitening.{name}": tensor for name, tensor in member.whitening.state_dict().items()}
    return facts, tensors


def member_from_state(
    config: EnergyConfig, channels: int, facts: dict[str, Any], tensors: dict[str, Tensor]
) -> Member:
    """The member that `member_state` described.

    Raises:
        KeyError, RuntimeError: tensors are missing or have other shapes than the configuration says.
    """
    whitening: Whitening | None = None
    if config.whitening != "none":
        own = _under("whitening.", tensors)
        whitening = Whitening(own["mean"], own["matrix"])
        tensors = {name: t for name, t in tensors.items() if not name.startswith("whitening.")}
    return Member(_energy(config, channels, facts, tensors), whitening)


def _energy(config: EnergyConfig, channels: int, facts: dict[str, Any], tensors: dict[str, Tensor]) -> Energy:
    """The energy of views in the space that they are whitened to."""
    if config.kind in ("gaussian", "mixture"):
        return _base(config.kind, tensors).eval()
    # The weights drawn here are replaced at once.
    generator = torch.Generator().manual_seed(0)
    own = tensors if config.kind == "network" else _under("network.", tensors)
    network: Energy
    if config.network.kind == "mlp":
        network = _residual(own, config.network.activation, generator)
    elif config.network.kind == "cells":
        network = CellsEnergy(_residual(_under("cell.", own), config.network.activation, generator))
    else:
        sees = config.kind == "tilted" and config.sees_gradient
        network = build_network(config.network, channels * (2 if sees else 1), generator)
    if config.kind == "network":
        network.load_state_dict(tensors)
        return network.eval()
    base = _base(config.base, _under("base.", tensors))
    scale = tensors.get("gradient_scale")
    energy = TiltedEnergy(base, network, facts["weight"], facts["offset"], scale)
    energy.load_state_dict(tensors)
    return energy.eval()


def _residual(
    tensors: dict[str, Tensor], activation: Activation, generator: torch.Generator
) -> ResidualEnergy:
    hidden, dimensions = tensors["enter.weight"].shape
    return ResidualEnergy(dimensions, hidden, activation, generator=generator)


def _base(kind: str, tensors: dict[str, Tensor]) -> Energy:
    if kind == "mixture":
        return MixtureEnergy(*(tensors[name] for name in _MIXTURE))
    return GaussianEnergy(*(tensors[name] for name in _GAUSSIAN))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
