"""Detectors that look at pretrained features: the contract, bad input, and what they must not depend on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from patchebm.config.parser import build_config, load_preset
from patchebm.config.schema import Level
from patchebm.detector import EnsembleDetector, load, reading
from patchebm.detector.level import LevelModel
from patchebm.errors import ConfigError, DataError, ImageError, ModelFileError
from patchebm.features.backbone import load_backbone
from patchebm.features.maps import FeatureMaps
from patchebm.features.module_backbone import ModuleBackbone
from patchebm.features.views import to_tensor
from tests.tiny import flanges, tiny_features


@pytest.fixture(scope="module")
def fitted() -> EnsembleDetector:
    return EnsembleDetector(tiny_features()).fit(flanges(9))


def test_a_glaring_defect_scores_high_and_is_shown_where_it_is(fitted: EnsembleDetector) -> None:
    defective = flanges(1, split="test/good")[0].copy()
    defective[4:20, 44:60] = [1.0, 0.0, 0.0]
    prediction = fitted.predict([defective])[0]
    assert set(prediction.levels) == {"patch", "image"}
    assert prediction.score > fitted.score(flanges(6, split="test/good")).max()
    assert prediction.heat_map is not None
    assert prediction.heat_map.shape == (64, 64)
    row, column = np.unravel_index(prediction.heat_map.argmax(), prediction.heat_map.shape)
    assert row < 32
    assert column > 32


def test_a_score_depends_neither_on_order_nor_on_company_and_one_seed_gives_one_detector(
    fitted: EnsembleDetector,
) -> None:
    images = flanges(20, split="test/good")
    together = fitted.score(images)
    np.testing.assert_allclose(together[::-1], fitted.score(images[::-1]), atol=1e-4)
    np.testing.assert_allclose(together[:1], fitted.score(images[:1]), atol=1e-4)
    again = EnsembleDetector(tiny_features()).fit(flanges(9))
    other = EnsembleDetector(tiny_features(seed=1)).fit(flanges(9))
    assert np.array_equal(again.score(images), together)
    assert not np.allclose(other.score(images), together)


@pytest.mark.parametrize(
    ("kind", "network", "tilt"),
    [
        ("gaussian", "mlp", False),
        ("mixture", "mlp", False),
        ("network", "mlp", False),
        ("network", "cells", False),
        ("tilted", "mlp", True),
        ("tilted", "mlp", False),
        ("tilted", "cells", False),
    ],
)
@pytest.mark.parametrize("whitening", ["none", "scale", "diagonal", "within"])
def test_every_energy_survives_saving(
    kind: str, network: str, tilt: bool, whitening: str, tmp_path: Path
) -> None:
    values = asdict(tiny_features())
    for name in ("patch", "image"):
        energy = values[name]["energy"]
        energy |= {"kind": kind, "whitening": whitening, "tilt": tilt, "sees_gradient": False}
        energy["network"]["kind"], energy["base"] = network, "mixture"
        values[name]["training"]["steps"] = 3
        # Chains move, and start where they can on features.
        values[name]["chains"] |= {"steps": 1, "start": "noised" if tilt else "informative"}
    detector = EnsembleDetector(build_config(values)).fit(flanges(7))
    detector.save(tmp_path)
    restored = load(tmp_path)
    images = flanges(2, split="test/good")
    for a, b in zip(detector.predict(images), restored.predict(images), strict=True):
        assert a.record() == b.record()
        assert np.array_equal(a.heat_map, b.heat_map)  # type: ignore[arg-type]
    assert np.isfinite(restored.score(images)).all()


def test_the_model_is_small_and_holds_no_backbone(fitted: EnsembleDetector, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 10e6
    other = load_backbone("efficientnet-lite0", [2, 4, 10])
    other.sha256 = "0" * 64
    with pytest.raises(ModelFileError, match="other weights"):
        load(tmp_path, backbone=other)


def test_grey_images_of_any_size_work(fitted: EnsembleDetector) -> None:
    colour = flanges(8)
    grey = [image[: 40 + i, : 60 - i].mean(2, keepdims=True) for i, image in enumerate(colour)]
    detector = EnsembleDetector(tiny_features()).fit(grey)
    assert np.isfinite(detector.score([*grey, *colour])).all()
    prediction = fitted.predict([grey[3]])[0]
    assert prediction.heat_map is not None
    assert prediction.heat_map.shape == (43, 57)


def test_identical_constant_and_few_images() -> None:
    same = EnsembleDetector(tiny_features()).fit([flanges(1)[0]] * 6)
    scores = same.score([*flanges(1), *flanges(1, "hole", "test/hole")])
    assert np.isfinite(scores).all()
    assert scores[1] > scores[0]
    constant = [np.full((64, 64, 3), 0.5, dtype=np.float32)] * 6
    assert np.isfinite(EnsembleDetector(tiny_features()).fit(constant).score(flanges(1))).all()
    with pytest.raises(DataError, match="too few"):
        EnsembleDetector(tiny_features()).fit(flanges(2))


def test_a_fit_that_keeps_few_cells_and_maps_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    # As with thousands of images: twelve cells of each are fitted on, and five images calibrate.
    monkeypatch.setattr(reading, "MOST_CELLS", 12 * 12)
    monkeypatch.setattr(reading, "MOST_MAP_BYTES", 5 * 2 * 176 * 64)
    config = tiny_features()
    config.calibration.members = 3
    detector = EnsembleDetector(config).fit(flanges(12))
    assert len(detector.tail_.scores) == 5
    assert np.isfinite(detector.score(flanges(2, split="test/good"))).all()


class Poisoned(nn.Module):
    """Not a number from the third image on; the first call is the one that finds the strides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.conv(x) * (float("nan") if self.calls > 3 else 1.0)


def test_features_that_are_not_finite_name_the_image() -> None:
    backbone = ModuleBackbone(nn.Sequential(Poisoned()), ["0"], "poisoned", multiple=4)
    with pytest.raises(ImageError, match=r"image 2: poisoned gives features that are not finite"):
        EnsembleDetector(tiny_features(), backbone).fit(flanges(9))


def test_a_network_of_ones_own_is_a_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 16, 2, 2))
    backbone = ModuleBackbone(network, ["1", "2"], "mine", multiple=8)
    detector = EnsembleDetector(tiny_features(), backbone).fit(flanges(9))
    detector.save(tmp_path)
    new = flanges(2, split="test/good")
    assert np.array_equal(load(tmp_path, backbone).score(new), detector.score(new))
    with pytest.raises(ModelFileError, match=r"on the backbone mine .* hand your own backbone to load"):
        load(tmp_path)


def test_maps_join_blocks_on_one_grid() -> None:
    config = tiny_features().features
    backbone = load_backbone("efficientnet-lite0", config.blocks)
    config.pool = 1
    image = torch.rand((3, 64, 64), generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = FeatureMaps(backbone, config)(image)
    assert seen.shape == (176, 8, 8)
    maps = backbone(image[None])
    # Stride 8 lies on the grid as it is.
    assert torch.equal(seen[24:64], maps[1][0])
    # A local mean, with zeros beyond the border.
    config.pool = 3
    pooled = FeatureMaps(backbone, config)(image)
    torch.testing.assert_close(pooled[:, 4, 4], seen[:, 3:6, 3:6].mean((1, 2)))
    torch.testing.assert_close(pooled[:, 0, 0], seen[:, :2, :2].sum((1, 2)) / 9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"features.grid": (32, 32)},
            r"features.grid \[32, 32\] is finer than the finest features, \[16, 16\]",
        ),
        ({"features.size": (60, 64)}, "multiples of 32"),
        ({"features.blocks": [2, 99]}, "features.blocks has 99"),
        ({"features.pool": 2}, "odd"),
        ({"features.backbone": "efficientnet-lite9"}, "not known.*did you mean"),
        ({"features.weights": "w.safetensors"}, "leave it out"),
        ({"patch.chains.start": "corrupted"}, "patch.chains.start corrupted is for pixels"),
        ({"patch.energy.network.kind": "wrn"}, "patch.energy.network.kind wrn is for pixels"),
        ({"image.energy.sees_gradient": True}, "image.energy.sees_gradient"),
        ({"image.energy.tilt": True}, "image.energy.tilt"),
        ({"patch.chains.noise_scale": (1.0, 0.1)}, "patch.chains.noise_scale"),
        ({"patch.score.smooth": 4}, "patch.score.smooth"),
        ({"features.backbone": None}, "needs features; set features.backbone"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_key(change: dict[str, object], words: str) -> None:
    config = tiny_features()
    for key, value in change.items():
        *sections, last = key.split(".")
        target: object = config
        for section in sections:
            target = getattr(target, section)
        setattr(target, last, value)
    with pytest.raises(ConfigError, match=words):
        EnsembleDetector(config).check(9)


def test_real_photographs(real_data: Path) -> None:
    paths = sorted((real_data / "bottle" / "train" / "good").iterdir())[:12]
    detector = EnsembleDetector(tiny_features()).fit(paths)
    broken = sorted((real_data / "bottle" / "test" / "broken_large").iterdir())[:4]
    good = sorted((real_data / "bottle" / "test" / "good").iterdir())[:4]
    assert detector.score(broken).min() > detector.score(good).max()


def test_a_backbone_of_ones_own_needs_a_configuration_of_features() -> None:
    backbone = ModuleBackbone(nn.Sequential(nn.Conv2d(3, 8, 4, 4)), ["0"], "mine", multiple=8)
    with pytest.raises(ConfigError, match="start from the preset features"):
        EnsembleDetector(load_preset("pixel-cpu"), backbone).check(9)


def test_what_a_fit_keeps_does_not_grow_with_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_CELLS", 500)
    monkeypatch.setattr(reading, "MOST_MAP_BYTES", 10 * 2 * 176 * 64)
    config = tiny_features()
    maps = FeatureMaps(load_backbone("efficientnet-lite0", config.features.blocks), config.features)
    levels: dict[Level, LevelModel] = {
        name: LevelModel(name, config, maps.channels) for name in ("patch", "image")
    }

    def kept(count: int) -> dict[str, tuple[int, int]]:
        folds = np.zeros(count, dtype=np.int64)
        images = (flanges(5) * count)[:count]
        sets = reading.read_training(images, levels, maps, ["part"] * count, folds, 0)
        return {
            name: (
                sum(t.shape[0] * t.shape[2] * t.shape[3] for t in own.drawn if isinstance(t, torch.Tensor)),
                len(own.images),
            )
            for name, own in sets.items()
        }

    few, many = kept(20), kept(200)
    assert few == {"patch": (500, 10), "image": (20 * 16, 10)}
    assert many["patch"] == (400, 10)
    # Whole maps are kept or not, at random: 500 cells are 31 maps of 16 on average.
    assert 15 * 16 <= many["image"][0] <= 50 * 16
    assert many["image"][1] == 10


def test_a_background_outside_the_region_of_interest_changes_nothing(tmp_path: Path) -> None:
    roi = np.zeros((128, 128), dtype=bool)
    roi[40:100, 30:110] = True
    detector = EnsembleDetector(tiny_features()).fit(flanges(9), roi=roi)
    image = flanges(1, split="test/good")[0]
    other = image.copy()
    other[:18] = [1.0, 0.0, 0.0]
    other[:, 56:] = 0.0
    before, after = detector.predict([image, other])
    assert before.score == after.score
    np.testing.assert_array_equal(before.heat_map, after.heat_map)
    # A defect inside still counts, and no heat lies outside.
    other[28:36, 24:32] = [1.0, 0.0, 0.0]
    defect = detector.predict([other])[0]
    assert defect.score > before.score + 1
    assert defect.heat_map is not None
    # Half a cell of the image level before the region.
    assert (defect.heat_map[:8] == defect.heat_map.min()).all()
    detector.save(tmp_path)
    assert load(tmp_path).score([other]) == defect.score
    with pytest.raises(DataError, match="too few to inspect"):
        EnsembleDetector(tiny_features()).fit(flanges(9), roi=np.zeros((10, 10), dtype=bool))
    with pytest.raises(ConfigError, match="needs features"):
        EnsembleDetector(load_preset("pixel-cpu")).fit(flanges(9), roi=roi)


def test_a_map_by_one_mean_and_spread_ranks_places_as_the_energies_do() -> None:
    """Place by place, what moves where good parts never change glows; for the whole map it does not."""
    maps = {}
    for per_position in (True, False):
        config = tiny_features()
        config.patch.score.map_positions = config.image.score.map_positions = per_position
        config.levels = ["patch"]
        config.patch.score.components = "network"
        detector = EnsembleDetector(config).fit(flanges(9))
        level = detector.levels_["patch"]
        image = flanges(1, split="test/good")[0]
        maps[per_position] = detector.predict([image])[0].level_maps["patch"]
        assert detector._maps is not None
        seen = reading.see(detector._maps, to_tensor(image, 3), "image")
        judged = level.judge([level.views.for_scoring(seen)])
        raw = judged[0].components[:, 0]
        order = torch.equal(level.heat_maps(judged)[0].flatten().argsort(), raw.argsort())
        assert order == (not per_position)
        # The score is standardised place by place either way.
        assert len(level.standardisers_[0].mean_.flatten()) == 64
    assert np.abs(maps[True] - maps[False]).max() > 0.1


def test_neighbours_that_look_alike_are_noticed_unless_parts_are_known() -> None:
    images = [image for image in flanges(6) for _ in range(3)]
    light = np.random.default_rng(0).uniform(0.98, 1, len(images)).astype(np.float32)
    images = [image * one for image, one in zip(images, light, strict=True)]
    config = tiny_features()
    config.levels = ["image"]
    config.calibration.consecutive = False
    detector = EnsembleDetector(config)
    order = detector.fit(images).order_
    assert order is not None
    assert order.matters
    assert order.alike == 18
    # Fitted again it says nothing of the fit before.
    assert detector.fit(images, [str(i // 3) for i in range(18)]).order_ is None
    config.calibration.consecutive = True
    assert EnsembleDetector(config).fit(images).order_ is None
