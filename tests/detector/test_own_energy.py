"""An energy from outside the package is trained, saved, loaded and exported like those inside."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from patchebm.config.build import build_config
from patchebm.detector import EnsembleDetector, load
from patchebm.errors import ConfigError
from patchebm.export.build import build_bundle
from patchebm.loading import load as load_any
from tests.knn import KNNConfig, KNNEnergy
from tests.tiny import flanges, tiny_features

KNN = {"kind": "tests.knn:KNNConfig", "neighbours": 2, "views": 200}


def test_its_energy_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    views = torch.randn((300, 5, 2, 2), generator=generator)
    energy = KNNEnergy.fit(views, KNNConfig(neighbours=3, views=300), generator)
    x = torch.randn((20, 5, 2, 2), generator=generator)
    distances, _ = NearestNeighbors(n_neighbors=3).fit(views.flatten(1)).kneighbors(x.flatten(1))
    np.testing.assert_allclose(energy(x), np.square(distances).mean(1), rtol=1e-4)


@pytest.mark.parametrize("network", [False, True], ids=["alone", "tilted"])
def test_it_goes_all_the_way(network: bool, images: list[Path], tmp_path: Path) -> None:
    changes: dict[str, Any] = {"levels": ["patch", "image"], "patch": {"base": KNN}}
    if not network:
        changes["patch"]["network"] = None
    config = build_config(asdict(tiny_features()), changes)
    detector = EnsembleDetector(config).fit(flanges(9))
    defective = flanges(1, split="test/good")[0].copy()
    defective[4:20, 44:60] = [1.0, 0.0, 0.0]
    good = detector.predict(flanges(3, split="test/good"))
    bad = detector.predict([defective])[0]
    assert bad.levels["patch"] > max(one.levels["patch"] for one in good) + 3
    row, column = np.unravel_index(bad.level_maps["patch"].argmax(), (64, 64))
    assert row < 32 < column

    detector.save(tmp_path / "run")
    restored = load(tmp_path / "run")
    assert restored.config == config
    expected = restored.predict(images)
    assert [one.score for one in expected] == [one.score for one in detector.predict(images)]

    build_bundle(restored, verify=images).write(tmp_path / "part.patchebm")
    found = load_any(tmp_path / "part.patchebm", batch=3).predict(images)
    for a, b in zip(found, expected, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-3, rel=1e-5)
        np.testing.assert_allclose(a.level_maps["patch"], b.level_maps["patch"], atol=1e-3, rtol=1e-4)


def test_of_whole_maps_it_needs_a_network_to_be_exported(images: list[Path]) -> None:
    """Without one its map is its gradient by autograd, which no graph holds."""
    network = {"training": {"steps": 20, "batch_size": 64, "warmup": 2}}
    config = build_config(asdict(tiny_features()), {"image": {"base": KNN, "network": network}})
    detector = EnsembleDetector(config).fit(flanges(9))
    assert detector.levels_["image"].scale.shape == (1, 2, 1, 1)
    assert build_bundle(detector, verify=images[:2]).parity.verdict_flips == 0
    alone = build_config(asdict(tiny_features()), {"image": {"base": KNN, "network": None}})
    detector = EnsembleDetector(alone).fit(flanges(9))
    assert np.isfinite(detector.predict(images[:1])[0].level_maps["image"]).all()
    with pytest.raises(ConfigError, match=r"cannot be exported: .*\); add a network to the level"):
        build_bundle(detector, verify=images[:2])


def test_what_it_is_given_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"patch\.base\.neighbours is 0; it must be a whole number above 0"):
        build_config({"patch": {"base": KNN | {"neighbours": 0}}})
