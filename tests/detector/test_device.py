"""Fitting and scoring on another device than the CPU, without one: see `tests/pretend_device.py`.

What a model says there is what it says on the CPU. PyTorch's own `FakeTensorMode`, which knows which
operators may mix devices, agrees; it has no values, and in builds without CUDA it cannot slice on `cuda`, so
that it has the device `lazy`, too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from patchebm.config.base import RunConfig
from patchebm.config.build import build_config
from patchebm.config.features import FeaturesConfig, WithinConfig
from patchebm.detector import EnsembleDetector, load
from patchebm.detector.level import TrainingSet
from patchebm.energy import GaussianEnergy, Whitening
from tests.pretend_device import DEVICE, PretendDevice
from tests.tiny import flanges, tiny_config, tiny_features


class SinglePrecisionDevice(PretendDevice):
    """A device that has no float64, as Apple's."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device == DEVICE and leaf.dtype == torch.float64:
                raise TypeError(f"{func} makes float64 on a device without it")
        return result


def pixels(score: str, **patch: Any) -> RunConfig:
    """A pixel detector without training."""
    tiny = {"training": {"steps": 0}, "gradient_input": patch.pop("gradient_input", True)}
    levels = {
        name: {"score": {"kind": score, "components": "sum"}, "network": tiny, **patch}
        for name in ("patch", "image")
    }
    levels["patch"]["view"] = {"grid": 4}
    return build_config({"kind": "pixels", "calibration": {"folds": 3, "members": 2}}, levels)


GAUSSIAN = {"kind": "gaussian", "rank": 4}
CONFIGS: dict[str, Callable[[], RunConfig]] = {
    "features": tiny_features,
    "pixels": tiny_config,
    **{
        f"{name}, {score}": lambda score=score, patch=patch: pixels(score, **patch)  # type: ignore[misc]
        for score in ("energy", "gradient")
        for name, patch in {
            "Gaussian": {"base": GAUSSIAN, "network": None},
            "network": {"base": None, "gradient_input": False},
            "tilted": {"base": GAUSSIAN, "gradient_input": False},
            "tilted with gradient": {"base": GAUSSIAN, "gradient_input": True},
        }.items()
    },
}


@pytest.fixture(scope="module", params=CONFIGS)
def detector(request: pytest.FixtureRequest) -> EnsembleDetector:
    """Fitted on the CPU."""
    return EnsembleDetector(CONFIGS[request.param]()).fit(flanges(6))


def test_a_model_says_there_what_it_says_on_the_cpu(detector: EnsembleDetector) -> None:
    x = torch.rand((2, 50, 40, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores, maps, anomaly_map = detector.scorer_(x)
    scorer = copy.deepcopy(detector.scorer_)
    with SinglePrecisionDevice(), torch.no_grad():
        scorer.to(DEVICE)
        found, found_maps, found_map = scorer(x.to(DEVICE))
        for a, b in zip(
            (found.score, found.levels, *found_maps, found_map),
            (scores.score, scores.levels, *maps, anomaly_map),
            strict=True,
        ):
            assert a.device == DEVICE
            torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("which", ["features", "pixels"])
def test_pytorch_finds_no_operator_that_mixes_devices(
    which: str, fitted: EnsembleDetector, fitted_pixels: EnsembleDetector
) -> None:
    scorer = copy.deepcopy(fitted.scorer_ if which == "features" else fitted_pixels.scorer_)
    if which == "pixels":
        # The image level's map is a gradient, which FakeTensorMode cannot compute without the device.
        del scorer.levels["image"]
    # Where patches lie is no buffer, and moves when it is used.
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        fake = {
            name: torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE)
            for name, tensor in (*scorer.named_parameters(), *scorer.named_buffers())
        }
        images = torch.empty((2, 50, 40, 3), device=DEVICE)
        scores, _, anomaly_map = functional_call(scorer, fake, images)
        assert scores.score.device == anomaly_map.device == DEVICE
        assert anomaly_map.shape == (2, 50, 40)
        left = "levels.position.component_std" if which == "features" else "levels.patch.scale"
        fake[left] = fake[left].to("cpu")
        with pytest.raises(RuntimeError, match="on the same device"):
            functional_call(scorer, fake, images)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("levels.position.gaussian", "factor0"),
        ("levels.position.join.operators.0", "rows"),
        ("levels.position.smooth", "columns"),
        ("levels.position", "component_mean"),
        ("levels.image", "map_shift"),
        ("levels.image.linear.0", "weight0"),
        ("levels.image.energies.0.energy", "axes"),
    ],
)
def test_a_tensor_that_stays_behind_is_found(owner: str, name: str, fitted: EnsembleDetector) -> None:
    x = torch.rand(1, 50, 40, 3)
    """One that is no buffer, and so does not move."""
    scorer = copy.deepcopy(fitted.scorer_)
    module = scorer.get_submodule(owner)
    tensor = getattr(module, name)
    delattr(module, name)
    setattr(module, name, tensor)
    with PretendDevice(), torch.no_grad():
        scorer.to(DEVICE)
        with pytest.raises(RuntimeError, match="two devices"):
            scorer(x.to(DEVICE))


@pytest.mark.parametrize("which", ["features", "pixels"])
def test_all_of_a_life_on_another_device(
    which: str, fitted: EnsembleDetector, fitted_pixels: EnsembleDetector, tmp_path: Path
) -> None:
    """Fitted, saved, loaded, calibrated there: the scores are those of the CPU, but for rounding."""
    on_cpu = fitted if which == "features" else fitted_pixels
    new, more = flanges(3, split="test/good"), flanges(6, split="test/good")
    there: Any = DEVICE
    with SinglePrecisionDevice():
        # k-means is scikit-learn's, on the CPU, by design; what was fitted moves.
        detector = EnsembleDetector(on_cpu.config, device=there).fit(flanges(9))
        assert {tensor.device for tensor in detector.scorer_.state_dict().values()} == {DEVICE}
        found = detector.predict(new)
        detector.save(tmp_path)
        again = load(tmp_path, device=there)
        assert [one.record() for one in again.predict(new)] == [one.record() for one in found]
        calibrated = again.calibrate(more).score(new)
        assert {tensor.device for tensor in again.scorer_.state_dict().values()} == {DEVICE}
    # A model goes from one device to another.
    loaded = load(tmp_path, device="cpu")
    for a, b, c in zip(found, loaded.predict(new), on_cpu.predict(new), strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-3)
        assert a.score == pytest.approx(c.score, abs=1e-2)
        np.testing.assert_allclose(a.heat_map, b.heat_map, atol=1e-3)  # type: ignore[arg-type]
    np.testing.assert_allclose(loaded.calibrate(more).score(new), calibrated, atol=1e-3)


@pytest.mark.parametrize("which", ["features", "pixels"])
def test_a_level_that_was_fitted_stays_on_the_device(which: str) -> None:
    config = tiny_features() if which == "features" else tiny_config()
    if isinstance(config, FeaturesConfig):
        config.levels = ["position", "patch", "image"]
    for level_config in map(config.level, config.levels):
        if level_config.network is not None:
            level_config.network.training.steps = 0
    detector = EnsembleDetector(config)
    reading = detector.read(flanges(6), 6)
    for name, level in reading.levels.items():
        kept = reading.kept[name]
        training = TrainingSet.of(kept, [str(i) for i in range(6)], np.arange(6) % 3)
        with PretendDevice():
            level.fit(training, members=2, refit=name == "patch", folder=None, device=DEVICE)
            assert {t.device for t in (*level.buffers(), *level.parameters())} == {DEVICE}
            view = kept.held_out[0]
            assert view is not None
            with torch.no_grad():
                evidence = level.held_out_evidence(view[None].to(DEVICE))
            assert evidence.components.device == DEVICE


def test_what_is_fitted_in_closed_form_stays_where_its_views_are() -> None:
    generator = torch.Generator().manual_seed(0)
    views = torch.randn((2, 9, 3, 4, 4), generator=generator)
    cells = torch.randn((300, 5, 1, 1), generator=generator)
    whitening = Whitening.fit(cells, WithinConfig(clusters=2), generator)
    for rank in (None, 3):
        expected = GaussianEnergy.fit_positions(views, rank=rank)
        with PretendDevice():
            found = GaussianEnergy.fit_positions(views.to(DEVICE), rank=rank)
            assert {tensor.device for tensor in found.buffers()} == {DEVICE}
            energies = found.energy_at(views[0].to(DEVICE), torch.zeros(9, dtype=torch.long).to(DEVICE))
        torch.testing.assert_close(
            energies.cpu_tensor,  # type: ignore[attr-defined]
            expected.energy_at(views[0], torch.zeros(9, dtype=torch.long)),
        )
    white = whitening(cells)
    with SinglePrecisionDevice():
        whitening.to(DEVICE)
        torch.testing.assert_close(whitening(cells.to(DEVICE)).cpu(), white)
        # What is folded is folded on the CPU, in float64.
        assert whitening.affine().matrix.device == torch.device("cpu")
