"""The thesis' recipe, what it is compared with, and the recipe with one part exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchebm.config.base import RunConfig
from patchebm.config.presets import load_preset

SETS = ("bottle", "screw", "solar_poly", "circuitboard")
# Steps between checkpoints of the full size: half a minute to two on one GPU.
FULL_SIZE_CHECKPOINTS = 20


def _both(network: Mapping[str, Any] | None, **level: Any) -> dict[str, Any]:
    """Returns changes of both levels."""
    own = {"network": network, **level}
    return {"patch": own, "image": own}


_GAUSSIAN = {"base": {"kind": "gaussian", "floor": 1e-4}}
_STANDARDISED = {"score": {"standardise_positions": True}}
# PYLD-10-5 with steps of 0.2 goes through the network 10 times, and reaches as far as 50 steps of 0.2.
_SGLD = {"kind": "sgld", "lr": 0.2, "noise": 0.0, "buffer_size": 100}

CHANGES: dict[str, Mapping[str, Any]] = {
    "thesis-small": {},
    "image-baseline": {},
    "Gaussian alone": _both(None, **_GAUSSIAN),
    "untrained": _both({"training": {"steps": 0}}),
    "SGLD, as many passes": _both({"sampler": {**_SGLD, "steps": 10}}),
    "SGLD, as far": _both({"sampler": {**_SGLD, "steps": 50}}),
    "uniform initialisation": _both({"negatives": {"kind": "uniform"}}),
    "own batch statistics": _both({"training": {"negatives_statistics": "own"}}),
    "shared batch statistics": _both({"training": {"negatives_statistics": "shared"}}),
    "no batch norm": _both({"norm": "none"}),
    "with the Gaussian as base": _both({"tilt": True}, **_GAUSSIAN),
    # Remedies for what the recipe alone may lack.
    "positions standardised": _both({}, **_STANDARDISED),
    "energy penalty": _both({"training": {"energy_penalty": 1e-3}}),
    # A network that is a fifth as wide moves a fifth as far at the same rate of Adam (Yang et al. 2022, muP).
    "learning rate for the width": _both({"training": {"lr": 5e-4}}),
    "no noise on data": _both({"training": {"data_noise": 0.0}}),
    "no noise on data, image level alone": {
        "levels": ["image"],
        "image": {"network": {"training": {"data_noise": 0.0}}},
    },
    "no noise on data, positions standardised": _both({"training": {"data_noise": 0.0}}, **_STANDARDISED),
    "Gaussian base, positions standardised": _both({"tilt": True}, **_GAUSSIAN, **_STANDARDISED),
    "no noise on data, Gaussian base, positions standardised": _both(
        {"tilt": True, "training": {"data_noise": 0.0}}, **_GAUSSIAN, **_STANDARDISED
    ),
    "Gaussian alone, positions standardised": _both(None, **_GAUSSIAN, **_STANDARDISED),
    "untrained, positions standardised": _both({"training": {"steps": 0}}, **_STANDARDISED),
    "thesis": _both({"training": {"checkpoint_every": FULL_SIZE_CHECKPOINTS}}),
    "jempp": _both({"training": {"checkpoint_every": FULL_SIZE_CHECKPOINTS}}),
}
"""What each variant changes of its preset: `thesis-small` unless it has the name of another one."""

SAME_TRAINING = {
    "positions standardised": "thesis-small",
    "no noise on data": "no noise on data, image level alone",
    "no noise on data, positions standardised": "no noise on data",
    "Gaussian base, positions standardised": "with the Gaussian as base",
}
"""Variants whose networks, or one of them, are those of another one: trained once, they are taken over."""

SUPERSEDED = ("thesis-small, before the fix", "image-baseline, before the fix")
"""Runs of code whose loss normalised data by their batch, and negatives by the running statistics. They are
kept for what they show, and cannot be run again."""

PRESETS = ("image-baseline", "thesis", "jempp")
FULL_SIZE = ("thesis", "jempp")
COMPARED = ("thesis-small", "image-baseline", "Gaussian alone", "untrained")
ABLATIONS = tuple(name for name in CHANGES if name not in (*COMPARED, *FULL_SIZE))
SMALL = tuple(name for name in CHANGES if name not in FULL_SIZE)


def configuration(variant: str, seed: int, steps: int | None) -> RunConfig:
    """Returns the configuration of a variant.

    Args:
        variant: its name.
        seed: of the run.
        steps: of each network; None for the preset's, which for the baseline are those of `thesis-small`.
    """
    small = load_preset("thesis-small")
    changes: dict[str, Any] = {"seed": seed}
    if variant == "image-baseline":
        # The same network, views and length as the thesis' image level; the rest is JEM's.
        own = small.level("image").network
        training = {
            "steps": own.training.steps,
            "batch_size": own.training.batch_size,
            "weight_decay": own.training.weight_decay,
        }
        network = {"depth": own.depth, "width": own.width, "training": training}
        changes |= {"calibration": {"folds": 5, "members": 1}, "image": {"network": network}}
    config = load_preset(variant if variant in PRESETS else "thesis-small", CHANGES[variant], changes)
    for name in config.levels:
        network = config.level(name).network
        if steps is not None and network is not None and network.training.steps != 0:
            network.training.steps = steps
    return config
