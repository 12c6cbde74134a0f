"""Every energy is saved and restored, with every whitening, base and network; nothing is trained for it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from patchebm.config.base import RunConfig
from patchebm.config.build import build_config
from patchebm.detector.energy_level import EnergyLevel
from patchebm.detector.level import Level, TrainingSet
from patchebm.detector.modelfile import load_model, save_model
from patchebm.detector.scorer import PixelInputs
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.module_backbone import ModuleBackbone

CPU = torch.device("cpu")
IMAGES = 8


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def backbone() -> ModuleBackbone:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.ReLU(), nn.Conv2d(5, 6, 2, 2))
    return ModuleBackbone(network, ["1", "2"], "small", multiple=8)


def fit(level: Level, images: Tensor, *, members: int, refit: bool) -> None:
    """Fit on images of what the level takes, with networks of random weights in place of trained ones."""
    views = [level.training_views(image, 10_000, generator()) for image in images]
    held_out = [level.held_out_view(image) for image in images]
    parts = [str(i) for i in range(IMAGES)]
    training = TrainingSet(
        views,
        list(held_out),
        [[] for _ in range(IMAGES)],
        [[] for _ in range(IMAGES)],
        parts=parts,
        folds=np.arange(IMAGES) % 3,
    )
    level.fit(training, members=members, refit=refit, folder=None, device=CPU)
    own = generator(1)
    with torch.no_grad():
        for name, tensor in level.energies.state_dict().items():
            if "network" in name or "fc" in name or "head" in name or "running" in name:
                tensor.copy_(0.1 + torch.rand(tensor.shape, generator=own))
        level.use(list(level.energies))  # type: ignore[arg-type]
        level.calibrate([level.held_out_evidence(view[None]) for view in held_out])


def through_files(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    save_model(folder, {}, dict(tensors))
    return load_model(folder)[1]


def assert_restored(
    config: RunConfig, name: str, level: Level, inputs: Any, given: Any, folder: Path
) -> None:
    own = config.level(name)
    again: Level = own.load_target()(name, own, config.seed, inputs)
    again.restore(through_files(level.state(), folder))
    with torch.no_grad():
        expected, found = level(given), again(given)
        assert torch.equal(found.score, expected.score)
        assert torch.equal(found.map, expected.map)
        assert torch.isfinite(found.score).all()
        # The score comes from what was restored and not from what every level has.
        for tensor in again.energies[0].state_dict().values():
            if tensor.ndim > 1:
                tensor.add_(0.5)
        again.use(list(again.energies))  # type: ignore[arg-type]
        assert not torch.equal(again(given).score, expected.score)


NETWORK = {"hidden": 7, "training": {"steps": 0}}
BASES = {
    "no base": None,
    "gaussian": {"kind": "gaussian", "rank": 3},
    "mixture": {"kind": "mixture", "components": 3, "em_steps": 1},
}
NETWORKS = {
    "no network": None,
    "network": NETWORK,
    "tilt": NETWORK | {"activation": "leaky_relu", "tilt": True},
}
WHITENINGS = {
    "as they are": None,
    "scale": {"kind": "scale"},
    "diagonal": {"kind": "diagonal"},
    "within": {"kind": "within", "clusters": 2},
}
# A level needs a base or a network, and only a network of cells tilts, where there is a base.
FEATURE_CASES = [
    (name, base, network, whitening)
    for name, base, network, whitening in itertools.product(("patch", "image"), BASES, NETWORKS, WHITENINGS)
    if (base, network) != ("no base", "no network")
    and (network != "tilt" or (base != "no base" and name == "patch"))
]


@pytest.mark.parametrize(("name", "base", "network", "whitening"), FEATURE_CASES)
def test_levels_of_features(
    name: str, base: str, network: str, whitening: str, backbone: ModuleBackbone, tmp_path: Path
) -> None:
    level_values = {"whitening": WHITENINGS[whitening], "base": BASES[base], "network": NETWORKS[network]}
    config = build_config(
        {
            "features": {"size": [32, 32], "grid": [4, 4], "blocks": [0, 1]},
            "image": {"grid": [2, 2]},
        },
        {name: level_values},
    )
    extractor = FeatureExtractor(backbone, config.features)  # type: ignore[attr-defined]
    own = config.level(name)
    level: EnergyLevel = own.load_target()(name, own, 0, extractor)
    images = torch.rand((IMAGES, 3, 32, 32), generator=generator()) * 2 - 1
    fit(level, extractor.join(extractor(images)), members=2, refit=name == "patch")
    assert len(level.energies) == (1 if name == "patch" else 2)
    new = torch.rand((3, 3, 32, 32), generator=generator(1)) * 2 - 1
    assert_restored(config, name, level, extractor, extractor(new), tmp_path)


ALONE: dict[str, Any] = {"gradient_input": False, "training": {"steps": 0}}
PIXEL_NETWORKS = {
    "no network": None,
    "network": ALONE,
    "gradient": ALONE | {"gradient_input": True, "norm": "batch", "activation": "leaky_relu"},
    "tilt": ALONE | {"tilt": True, "norm": "group", "pooling": "mean"},
    "tilt and gradient": ALONE | {"tilt": True, "gradient_input": True},
}
PIXEL_BASES = {
    "no base": None,
    "gaussian": {"kind": "gaussian", "rank": 3},
    "gaussian of each position": {"kind": "gaussian", "rank": 3, "per_position": True},
}
# A whole image has one position.
PIXEL_CASES = [
    (name, base, network, score)
    for name, base, network, score in itertools.product(
        ("patch", "image"), PIXEL_BASES, PIXEL_NETWORKS, ("energy", "gradient")
    )
    if (base != "no base" or network == "network")
    and (name == "patch" or base != "gaussian of each position")
]


@pytest.mark.parametrize(("name", "base", "network", "score"), PIXEL_CASES)
def test_levels_of_pixels(name: str, base: str, network: str, score: str, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "base": PIXEL_BASES[base],
        "network": PIXEL_NETWORKS[network],
        "score": {"kind": score, "components": "sum"},
    }
    if name == "patch":
        values["view"] = {"train_size": [16, 16], "test_size": [16, 16], "patch": 8, "grid": 2}
    else:
        values["view"] = {"size": [16, 16]}
    config = build_config({"kind": "pixels", "levels": [name], name: values})
    own = config.level(name)
    inputs = PixelInputs(1)
    level: Level = own.load_target()(name, own, 0, inputs)
    fit(level, torch.rand((IMAGES, 1, 20, 24), generator=generator()) * 2 - 1, members=2, refit=False)
    new = torch.rand((3, 1, 30, 20), generator=generator(1)) * 2 - 1
    assert_restored(config, name, level, inputs, new, tmp_path)


def test_what_does_not_fit_its_level_is_refused(backbone: ModuleBackbone) -> None:
    config = build_config({"features": {"size": [32, 32], "grid": [4, 4], "blocks": [0, 1]}})
    extractor = FeatureExtractor(backbone, config.features)  # type: ignore[attr-defined]
    level: Level = config.patch.load_target()("patch", config.patch, 0, extractor)  # type: ignore[attr-defined]
    with pytest.raises(KeyError, match="scale"):
        level.restore({})
