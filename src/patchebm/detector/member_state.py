"""A fitted energy as JSON facts and tensors, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from patchebm.config import EnergyConfig
from patchebm.detector.member import build_network
from patchebm.energy import Energy, GaussianEnergy, TiltedEnergy

_GAUSSIAN = ("mean", "axes", "variances", "floor")


def member_state(energy: Energy) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and tensors of a fitted energy."""
    facts: dict[str, Any] = {}
    if isinstance(energy, TiltedEnergy):
        facts = {"weight": energy.weight, "offset": energy.offset}
    return facts, dict(energy.state_dict())


def member_from_state(
    config: EnergyConfig, channels: int, facts: dict[str, Any], tensors: dict[str, Tensor]
) -> Energy:
    """The energy that `member_state` described.

    Raises:
        KeyError, RuntimeError: tensors are missing or have other shapes than the configuration says.
    """
    if config.kind == "gaussian":
        return GaussianEnergy(*(tensors[name] for name in _GAUSSIAN)).eval()
    # The weights drawn here are replaced at once.
    generator = torch.Generator().manual_seed(0)
    if config.kind == "network":
        network = build_network(config.network, channels, generator)
        network.load_state_dict(tensors)
        return network.eval()
    base = GaussianEnergy(*(tensors[f"base.{name}"] for name in _GAUSSIAN))
    network = build_network(config.network, channels * (2 if config.sees_gradient else 1), generator)
    scale = tensors.get("gradient_scale")
    energy = TiltedEnergy(base, network, facts["weight"], facts["offset"], scale)
    energy.load_state_dict(tensors)
    return energy.eval()
