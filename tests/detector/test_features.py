"""Detectors on features of a pretrained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from patchebm.config.build import build_config
from patchebm.config.features import CellNetworkConfig, DefectsConfig
from patchebm.config.training import TrainingConfig
from patchebm.detector import EnsembleDetector, PatchDetector, load, training_set
from patchebm.detector.feature_levels import FeatureLevel
from patchebm.detector.position_level import PositionLevel
from patchebm.errors import ConfigError, DataError, ImageError, ModelFileError
from patchebm.features.backbone import load_backbone
from patchebm.features.module_backbone import ModuleBackbone
from tests.tiny import flanges, tiny_features


def test_a_glaring_defect_scores_high(fitted: EnsembleDetector) -> None:
    defective = flanges(1, split="test/good")[0].copy()
    defective[4:20, 44:60] = [1.0, 0.0, 0.0]
    prediction = fitted.predict([defective])[0]
    assert set(prediction.levels) == {"position", "image"}
    assert prediction.score > fitted.score(flanges(6, split="test/good")).max()


def test_a_glaring_defect_is_shown_where_it_is() -> None:
    config = tiny_features(seed=1)
    config.levels = ["position"]
    config.defects = DefectsConfig(learn=40, local_checks=20, global_checks=0)
    assert config.position.network is not None
    config.position.network.training = TrainingConfig(steps=100, batch_size=256, lr=2e-3)
    detector = EnsembleDetector(config).fit(flanges(12))
    level = detector.levels_["position"]
    assert isinstance(level, PositionLevel)
    assert level.component_weights[1] > 0.2, "the network has a share in the map"
    defective = flanges(1, split="test/good")[0].copy()
    defective[4:20, 44:60] = [1.0, 0.0, 0.0]
    heat_map = detector.predict([defective])[0].heat_map
    assert heat_map is not None
    assert heat_map.shape == (64, 64)
    row, column = np.unravel_index(heat_map.argmax(), heat_map.shape)
    assert 4 <= row < 20
    assert 44 <= column < 60


@pytest.mark.parametrize("negatives", ["noised", "informative"])
@pytest.mark.parametrize("sampler", ["pyld", "sgld"])
@pytest.mark.parametrize("tilt", [False, True])
def test_chains_move_on_features(tilt: bool, sampler: str, negatives: str) -> None:
    network = {
        "tilt": tilt,
        "negatives": {"kind": negatives},
        "sampler": {"kind": sampler, "buffer_size": 100},
        "training": {"steps": 2, "batch_size": 16, "warmup": 0},
    }
    changes: dict[str, Any] = {
        "features": {"size": [64, 64], "grid": [8, 8]},
        "calibration": {"folds": 3, "members": 1, "refit": []},
        "patch": {"network": network, "base": {"components": 8}, "whitening": {"clusters": 2}},
    }
    detector = PatchDetector(build_config(changes)).fit(flanges(7))
    assert np.isfinite(detector.score(flanges(2, split="test/good"))).all()


def test_the_model_is_small_and_holds_no_backbone(model_folder: Path) -> None:
    assert sum(file.stat().st_size for file in model_folder.iterdir()) < 10e6
    other = load_backbone("efficientnet-lite0", [2, 4, 10])
    other.sha256 = "0" * 64
    with pytest.raises(ModelFileError, match="other weights"):
        load(model_folder, backbone=other)


def test_a_fit_that_keeps_few_cells_and_maps_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    # As with thousands of images: twelve cells of each are fitted on, and five images calibrate.
    monkeypatch.setattr(training_set, "MAX_CELLS", 12 * 12)
    monkeypatch.setattr(training_set, "MAX_MAP_BYTES", 5 * 2 * 176 * 64)
    config = tiny_features()
    config.calibration.members = 3
    detector = EnsembleDetector(config).fit(flanges(12))
    assert len(detector.tail_.scores) == 5
    assert np.isfinite(detector.score(flanges(2, split="test/good"))).all()


def test_what_a_fit_keeps_does_not_grow_with_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_set, "MAX_CELLS", 500)
    monkeypatch.setattr(training_set, "MAX_MAP_BYTES", 10 * 2 * 176 * 64)
    config = tiny_features()
    config.levels = ["patch", "image"]
    detector = EnsembleDetector(config)

    def kept(count: int) -> dict[str, tuple[int, int]]:
        reading = detector.read((flanges(5) * count)[:count], count)
        assert reading.images == count
        return {
            name: (
                sum(view.shape[0] * view.shape[2] * view.shape[3] for view in own.views),
                sum(image is not None for image in own.held_out),
            )
            for name, own in reading.kept.items()
        }

    few, many = kept(20), kept(200)
    assert few == {"patch": (500, 10), "image": (20 * 16, 10)}
    assert many["patch"] == (400, 10)
    # Whole maps are kept or not, at random: 500 cells are 31 maps of 16 on average.
    assert 15 * 16 <= many["image"][0] <= 50 * 16
    assert many["image"][1] == 10


def test_each_image_is_asked_for_once() -> None:
    asked: list[int] = []

    def images() -> Any:
        for i, image in enumerate(flanges(9)):
            asked.append(i)
            yield image

    detector = EnsembleDetector(tiny_features())
    reading = detector.read(images(), 9)
    assert asked == list(range(9))
    # Fewer may come than were expected: some could not be read.
    assert detector.read(flanges(7), 9).images == 7
    assert reading.images == 9


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
    config = tiny_features()
    config.defects = DefectsConfig(learn=0, local_checks=0, global_checks=0)
    # Of fewer than 20 images, changed versions would be looked at, too.
    with pytest.raises(ImageError, match=r"image 2: poisoned gives features that are not finite"):
        EnsembleDetector(config, backbone).fit(flanges(20))


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
        ({"levels": ["patch"], "patch.smooth": 4}, "patch.smooth"),
        ({"image.network": CellNetworkConfig(tilt=True)}, "image.network.tilt"),
        ({"position.network.tilt": True}, "position.network.tilt"),
        ({"levels": ["patch", "patch"]}, "once each"),
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
        EnsembleDetector(config).check()


def test_real_photographs(real_data: Path) -> None:
    paths = sorted((real_data / "bottle" / "train" / "good").iterdir())[:12]
    detector = EnsembleDetector(tiny_features()).fit(paths)
    broken = sorted((real_data / "bottle" / "test" / "broken_large").iterdir())[:4]
    good = sorted((real_data / "bottle" / "test" / "good").iterdir())[:4]
    assert detector.score(broken).min() > detector.score(good).max()


def test_a_background_outside_the_region_of_interest_changes_nothing(tmp_path: Path) -> None:
    roi = np.zeros((128, 128), dtype=bool)
    roi[40:100, 30:110] = True
    detector = EnsembleDetector(tiny_features()).fit(flanges(9), roi=roi)
    assert detector.region is not None
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
    assert defect.mask is not None
    assert not defect.mask[:8].any()
    detector.save(tmp_path)
    restored = load(tmp_path)
    assert restored.region is not None
    assert restored.score([other]) == defect.score
    with pytest.raises(DataError, match="too few to inspect"):
        EnsembleDetector(tiny_features()).fit(flanges(9), roi=np.zeros((10, 10), dtype=bool))


def test_a_map_by_one_mean_and_deviation_ranks_places_as_the_energies_do() -> None:
    """Place by place, what moves where good parts never change glows; for the whole map it does not."""
    image = torch.from_numpy(flanges(1, split="test/good")[0])[None]
    maps = {}
    for per_position in (True, False):
        config = tiny_features()
        config.levels = ["patch"]
        config.patch.map_positions = per_position
        config.patch.base = None
        detector = EnsembleDetector(config).fit(flanges(9))
        level = detector.levels_["patch"]
        assert isinstance(level, FeatureLevel)
        scorer = detector.scorer_
        with torch.no_grad():
            given = scorer.inputs(scorer.prepare(image))
            raw = level.evidence(given).components
            (maps[per_position],) = scorer.score(scorer.prepare(image)).grids
        order = torch.equal(maps[per_position].flatten().argsort(), raw.flatten().argsort())
        assert order == (not per_position)
        # The score is standardised place by place either way.
        assert level.scale.shape == (1, 1, 8, 8)
        assert len(level.scale.unique()) == 64
    assert (maps[True] - maps[False]).abs().max() > 0.1


def test_neighbours_that_look_alike_are_noticed_unless_parts_are_known() -> None:
    images = [image for image in flanges(6) for _ in range(3)]
    light = np.random.default_rng(0).uniform(0.98, 1, len(images)).astype(np.float32)
    images = [image * one for image, one in zip(images, light, strict=True)]
    config = tiny_features()
    config.levels = ["image"]
    config.image.network = None
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
