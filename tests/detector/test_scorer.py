"""The one scorer: what prediction runs, export traces and the plug-in wraps."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from patchebm.detector import EnsembleDetector
from patchebm.detector.scorer import PixelInputs, Scorer, combine
from tests.tiny import flanges

SHAPES = [(64, 64, 3), (90, 131, 3), (40, 200, 1), (301, 33, 3), (20, 20, 1), (9, 64, 3)]


@pytest.fixture(params=["features", "pixels"])
def detector(
    request: pytest.FixtureRequest, fitted: EnsembleDetector, fitted_pixels: EnsembleDetector
) -> EnsembleDetector:
    return fitted if request.param == "features" else fitted_pixels


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def run(scorer: Scorer, images: np.ndarray) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    with torch.no_grad():
        scores, maps, anomaly_map = scorer(torch.from_numpy(images))
    return scores.score, scores.levels, maps, anomaly_map


@pytest.mark.parametrize("shape", SHAPES)
def test_predictions_are_what_the_scorer_says(detector: EnsembleDetector, shape: tuple[int, ...]) -> None:
    image = noise(shape)
    (prediction,) = detector.predict([image])
    score, levels, maps, anomaly_map = run(detector.scorer_, image[None])
    assert prediction.score == float(score)
    assert list(prediction.levels.values()) == levels[0].tolist()
    for own, one in zip(prediction.level_maps.values(), maps, strict=True):
        np.testing.assert_array_equal(own, one[0].numpy())
    assert prediction.heat_map is not None
    np.testing.assert_array_equal(prediction.heat_map, anomaly_map[0].numpy())
    assert prediction.heat_map.shape == shape[:2]


def test_a_batch_is_its_images(detector: EnsembleDetector) -> None:
    images = [*flanges(2, split="test/good"), noise((64, 64, 3))]
    together = run(detector.scorer_, np.stack(images))
    for i, image in enumerate(images):
        score, levels, maps, anomaly_map = run(detector.scorer_, image[None])
        torch.testing.assert_close(together[0][i], score[0], rtol=3e-6, atol=1e-4)
        torch.testing.assert_close(together[1][i], levels[0], rtol=3e-6, atol=1e-4)
        for many, one in zip((*together[2], together[3]), (*maps, anomaly_map), strict=True):
            torch.testing.assert_close(many[i], one[0], rtol=1e-5, atol=1e-3)
    batched = copy.copy(detector)
    batched.batch = 3
    for a, b in zip(batched.predict(images), detector.predict(images), strict=True):
        assert a.score == pytest.approx(b.score, rel=3e-6, abs=1e-4)
        assert (a.image, a.anomalous) == (b.image, b.anomalous)


def test_maps_are_grids_at_the_size_of_the_image(fitted: EnsembleDetector) -> None:
    scorer = fitted.scorer_
    image = noise((1, 90, 50, 3))
    with torch.no_grad():
        scores = scorer.score(scorer.prepare(torch.from_numpy(image)))
        maps, anomaly_map = scorer.maps(scores.grids, (90, 50))
        # As where a graph computes the size while it runs.
        again, _ = scorer.maps(scores.grids, torch.tensor([90, 50]))
    assert [tuple(grid.shape) for grid in scores.grids] == [(1, 8, 8), (1, 4, 4)]
    for grid, one, other in zip(scores.grids, maps, again, strict=True):
        expected = interpolate(grid[None], (90, 50), mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(one, expected)
        assert torch.equal(one, other)
    # The coarse map does not localise.
    assert torch.equal(anomaly_map, maps[0])


def test_the_score_is_the_combined_levels_among_those_of_good_images(detector: EnsembleDetector) -> None:
    scorer = detector.scorer_
    score, levels, _, _ = run(scorer, np.stack(flanges(3, split="test/good")))
    weights = scorer.weights
    combined = torch.logsumexp(levels, dim=1) if weights is None else levels @ weights
    assert weights is None or float(weights.sum()) == pytest.approx(1)
    expected = (combined - scorer.mean) / scorer.std
    torch.testing.assert_close(score, expected)


def test_the_ensemble_follows_the_level_that_is_sure_and_adds_doubts() -> None:
    sure = combine(torch.tensor([[9.0, 0.0], [0.0, 9.0]]))
    np.testing.assert_allclose(sure, 9, atol=1e-3)
    assert combine(torch.tensor([[2.0, 2.0]]))[0] > combine(torch.tensor([[2.0, 0.0]]))[0]
    np.testing.assert_allclose(combine(torch.tensor([[1.5], [-2.0]])), [1.5, -2.0])
    three = torch.randn((5, 3), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(combine(three), torch.logsumexp(three, dim=1))
    assert torch.isfinite(combine(torch.tensor([[1e5, -1e5]]))).all()


def test_pixels_come_in_minus_one_to_one_and_grey_is_luma() -> None:
    image = torch.zeros(1, 2, 3, 3)
    image[..., 1] = 1
    assert PixelInputs(3).prepare(image)[0, :, 0, 0].tolist() == [-1, 1, -1]
    assert float(PixelInputs(1).prepare(image)[0, 0, 0, 0]) == pytest.approx(2 * 0.587 - 1)
    assert PixelInputs(3).prepare(image[..., :1]).shape == (1, 3, 2, 3)
    grey = torch.rand(2, 5, 4, 1)
    torch.testing.assert_close(PixelInputs(1).prepare(grey), grey.movedim(3, 1) * 2 - 1)


def test_nothing_in_it_learns(detector: EnsembleDetector) -> None:
    scorer = detector.scorer_
    assert not any(parameter.requires_grad for parameter in scorer.parameters())
    assert not any(module.training for module in scorer.modules())


def test_no_map_is_hot_outside_the_region(fitted: EnsembleDetector) -> None:
    scorer = copy.deepcopy(fitted.scorer_)
    region = torch.zeros(64, 64)
    region[16:, :40] = 1
    scorer.inputs.region = region
    images = torch.from_numpy(noise((2, 64, 64, 3)))
    with torch.no_grad():
        scores = scorer.score(scorer.prepare(images))
    for grids, cell in zip(scores.grids, (8, 16), strict=True):
        outside = region.view(64 // cell, cell, 64 // cell, cell).amax((1, 3)) == 0
        assert outside.any()
        for grid in grids:
            assert (grid[outside] == grid.min()).all()
            assert (grid[~outside] > grid.min()).any()


def test_it_can_be_exported_by_torch_export_too(fitted: EnsembleDetector) -> None:
    """As anomalib does, for images of one size; see `tests/anomalib`."""
    image = torch.from_numpy(noise((1, 50, 40, 3)))
    program = torch.export.export(copy.deepcopy(fitted.scorer_), (image,), strict=False)
    found, expected = program.module()(image), fitted.scorer_(image)
    torch.testing.assert_close(found[0].score, expected[0].score)
    torch.testing.assert_close(found[2], expected[2])
