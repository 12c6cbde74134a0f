"""The position level: what is saved, exported and drawn, and sets that are small, odd or made to fool it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from patchebm.config.base import CalibrationConfig
from patchebm.config.features import DefectsConfig
from patchebm.detector import EnsembleDetector, load
from patchebm.detector.position_level import PositionLevel
from patchebm.detector.weights import separation
from patchebm.energy.fused import Evidence
from patchebm.export.build import build_bundle
from patchebm.loading import load as load_any
from tests.tiny import flanges, tiny_features


def framed(
    n: int, split: str = "train/good", size: tuple[int, int] = (128, 160)
) -> list[NDArray[np.float32]]:
    """Black images with a flange at the upper right."""
    images = []
    for part in flanges(n, split=split):
        image = np.zeros((128, 160, 3), np.float32)
        image[8:72, 88:152] = part
        pixels = Image.fromarray((255 * image).astype(np.uint8)).resize(size[::-1])
        images.append(np.asarray(pixels, dtype=np.float32) / 255)
    return images


@pytest.fixture(scope="module")
def cropped() -> EnsembleDetector:
    return EnsembleDetector(tiny_features()).fit(framed(9))


def test_what_is_saved_scores_the_same_bit_by_bit(fitted: EnsembleDetector, model_folder: Path) -> None:
    new = flanges(3, split="test/good")
    restored = load(model_folder)
    for a, b in zip(restored.predict(new), fitted.predict(new), strict=True):
        assert a.levels == b.levels
        assert a.score == b.score
        np.testing.assert_array_equal(a.level_maps["position"], b.level_maps["position"])


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_bundle_frames_images_as_the_detector_does(
    form: str, cropped: EnsembleDetector, images: list[Path], tmp_path: Path
) -> None:
    framing = cropped.scorer_.inputs.framing  # type: ignore[union-attr]
    assert not framing.whole
    file = tmp_path / "part.patchebm"
    build_bundle(cropped, verify=images[:3], form=form).write(file)
    sizes = [(128, 160), (64, 80), (131, 201), (300, 100), (9, 40)]
    new = [framed(1, "test/good", size)[0] for size in sizes]
    new += [np.random.default_rng(0).random((*size, 3), dtype=np.float32) for size in sizes]
    for found, expected in zip(load_any(file).predict(new), cropped.predict(new), strict=True):
        assert found.score == pytest.approx(expected.score, abs=1e-3, rel=1e-4)
        for name, one in expected.level_maps.items():
            np.testing.assert_allclose(found.level_maps[name], one, atol=2e-3, rtol=1e-3)


def test_the_map_of_a_box_lies_where_the_box_does() -> None:
    config = tiny_features()
    # Twenty steps teach a network little of where defects are.
    config.position.network = None
    cropped = EnsembleDetector(config).fit(framed(9))
    assert not cropped.scorer_.inputs.framing.whole  # type: ignore[union-attr]
    image = framed(1, "test/good")[0].copy()
    # Near the upper left corner of the part, which fills rows 8 to 72 and columns 88 to 152.
    image[16:24, 96:104] = [1.0, 0.0, 0.0]
    heat_map = cropped.predict([image])[0].heat_map
    assert heat_map is not None
    assert heat_map.shape == (128, 160)
    row, column = np.unravel_index(heat_map.argmax(), heat_map.shape)
    assert abs(int(row) - 20) <= 8
    assert abs(int(column) - 100) <= 8
    # Nowhere is cooler than outside the box.
    assert heat_map[127, 0] == heat_map.min()


def textures(n: int, seed: int) -> list[NDArray[np.float32]]:
    """Plain cloth with a camera's noise."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        cloth = 0.5 + 0.05 * gaussian_filter(rng.standard_normal((64, 64)), 2) / 0.14
        noisy = cloth[:, :, None] + 0.03 * rng.standard_normal((64, 64, 3))
        images.append(np.clip(noisy, 0, 1).astype(np.float32))
    return images


def damaged_textures(n: int, seed: int) -> list[NDArray[np.float32]]:
    """A thread is pulled: the noise is a camera's there, too, which no drawn defect has."""
    rng = np.random.default_rng(seed)
    images = []
    for image in textures(n, seed + 1):
        row, column = rng.integers(8, 48, 2)
        mark = np.zeros((64, 64))
        mark[row : row + 2, column : column + 12] = 1
        mark = gaussian_filter(mark, 0.7)[:, :, None]
        noise = 0.03 * rng.standard_normal((64, 64, 3))
        images.append(np.clip(image + mark * (0.25 + noise), 0, 1).astype(np.float32))
    return images


@pytest.mark.slow
def test_a_network_that_could_learn_to_tell_drawings_does_no_harm() -> None:
    good, bad = textures(150, 50), damaged_textures(150, 80)
    found = {}
    for network in (True, False):
        config = tiny_features()
        config.levels = ["position"]
        config.defects = DefectsConfig(learn=60, local_checks=60, global_checks=0)
        if network:
            assert config.position.network is not None
            config.position.network.training.steps = 150
        else:
            config.position.network = None
        detector = EnsembleDetector(config).fit(textures(40, 0))
        found[network] = separation(detector.score(good), detector.score(bad))
    assert found[False] > 0.6
    assert found[True] > found[False] - 0.02


def test_six_images_of_three_parts() -> None:
    detector = EnsembleDetector(tiny_features()).fit(flanges(6), ["a", "a", "b", "b", "c", "c"])
    assert len(detector.tail_.scores) == 4
    assert np.isfinite(detector.score(flanges(3, split="test/good"))).all()


def test_identical_images_make_any_other_stand_out() -> None:
    one = flanges(1)[0]
    detector = EnsembleDetector(tiny_features()).fit([one] * 6)
    same, other = detector.score([one, flanges(1, "missing")[0]])
    assert np.isfinite([same, other]).all()
    assert other > 10
    assert other > same


def test_defects_are_drawn_where_is_inspected() -> None:
    roi = np.zeros((64, 64), dtype=bool)
    roi[:32, :32] = True
    reading = EnsembleDetector(tiny_features()).read(flanges(9), 9, roi)
    masks = [one.mask.float() for own in reading.kept["position"].damaged for one in own]
    assert len(masks) == 14
    total = torch.stack(masks).sum(0)
    assert total.sum() > 0
    # The corner and a defect's reach beyond it.
    assert total[:4, :4].sum() > total.sum() / 3


def test_one_seed_draws_the_same_defects_whatever_else_is_fitted() -> None:
    read = {}
    for names in (("position",), ("position", "image"), ("position", "patch", "image")):
        config = tiny_features()
        config.levels = list(names)
        kept = EnsembleDetector(config).read(flanges(9), 9).kept
        read[names] = kept["position"].damaged
        if "image" in names:
            # Those that networks learn from are for the level that learns from them.
            kinds = [one.kind for own in kept["image"].damaged for one in own]
            assert (kinds.count("local"), kinds.count("global"), len(kinds)) == (5, 3, 8)
    first, *rest = read.values()
    kinds = [one.kind for own in first for one in own]
    # One level alone need not be weighed against others, which global defects do.
    assert (kinds.count("learn"), kinds.count("local"), len(kinds)) == (6, 5, 11)
    for more in rest:
        for own, other in zip(first, more, strict=True):
            for a, b in zip(own, [one for one in other if one.kind != "global"], strict=True):
                assert torch.equal(a.view, b.view)
                assert torch.equal(a.mask, b.mask)
                assert (a.kind, a.extent) == (b.kind, b.extent)


def test_all_its_tensors_are_saved(fitted: EnsembleDetector) -> None:
    level = fitted.levels_["position"]
    assert isinstance(level, PositionLevel)
    names = set(level.state())
    assert {
        "component_weights",
        "component_mean",
        "map_weights",
        "gaussian.mean",
        "network.fc1.weight",
    } <= names
    assert float(level.component_weights.sum()) == pytest.approx(1)


def test_the_map_counts_the_gaussian_and_the_network_as_the_score_does(fitted: EnsembleDetector) -> None:
    level = fitted.levels_["position"]
    assert isinstance(level, PositionLevel)
    cells = torch.randn((1, 2, *level.grid), generator=torch.Generator().manual_seed(0))
    before = level.map(Evidence(cells, cells))
    for k, weight in enumerate(level.component_weights):
        assert weight > 0
        # By a standard deviation of what good cells show.
        raised = cells.clone()
        raised[0, k, 3, 4] += weight / level.map_weights[k]
        gained = level.map(Evidence(raised, raised)) - before
        torch.testing.assert_close(gained[0, 3, 4], weight / level.map_std, atol=1e-4, rtol=1e-4)
        gained[0, 3, 4] = 0
        assert not gained.any()


def test_what_all_of_an_image_has_in_common_counts_half(fitted: EnsembleDetector) -> None:
    level = fitted.levels_["position"]
    assert isinstance(level, PositionLevel)
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn((2, 2, *level.grid), generator=generator).double()
    local = cells.clone()
    # As many cells as the score takes the mean of, the largest by far.
    local[:, :, 0, : level.config.top] = cells.amax((2, 3))[..., None]

    def score(cells: torch.Tensor) -> torch.Tensor:
        return level.score(Evidence(cells, cells))

    everywhere = score(local + 1) - score(local)
    raised = local.clone()
    raised[:, :, 0, : level.config.top] += 1
    here = score(raised) - score(local)
    # A rise in a few places lifts the mean of all a little, too.
    share = level.config.top / level.positions
    torch.testing.assert_close(everywhere, here * 0.5 / (1 - 0.5 * share))


@pytest.mark.slow
def test_good_images_that_were_held_out_score_as_new_ones_do() -> None:
    """Their mean is 0; it was 1 to 2 above that of new ones while they were held out from half of the fit."""
    new = []
    for seed in range(3):
        config = tiny_features()
        config.seed, config.levels = seed, ["position"]
        config.defects = DefectsConfig(learn=30, local_checks=30, global_checks=0)
        config.calibration = CalibrationConfig(folds=3, members=3)
        assert config.position.network is not None
        config.position.network.training.steps = 100
        detector = EnsembleDetector(config).fit(textures(12, 10 * seed))
        new.append(detector.score(textures(60, 1000 + seed)).mean())
    assert np.mean(new) > -0.5
