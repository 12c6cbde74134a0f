"""The loop: what it learns, resume after a kill, divergence, and the device."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from patchebm.config.training import PYLDConfig, SamplerConfig, SGLDConfig, ShellConfig, TrainingConfig
from patchebm.energy import Energy, GaussianEnergy, ResidualEnergy, TiltedEnergy, WideResNetEnergy
from patchebm.errors import PatchebmError
from patchebm.training.fit import fit_network
from patchebm.training.loop import schedule
from patchebm.training.negatives import (
    CorruptedNegatives,
    Draw,
    InformativeNegatives,
    Negatives,
    NoisedNegatives,
    UniformNegatives,
)
from tests.pretend_device import DEVICE, PretendDevice
from tests.training.test_checkpoint import full_disk

CPU = torch.device("cpu")
State = dict[str, Tensor]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


VIEWS = torch.rand(40, 3, 8, 8, generator=generator(9)) * 0.4
PLAIN = TrainingConfig(steps=4, batch_size=6, warmup=0, decay_from=1.0)


def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Views of two positions."""
    indices = torch.randint(len(VIEWS), (n,), generator=generator)
    return VIEWS[indices], indices % 2


CORRUPTED = CorruptedNegatives(draw)


def draw_until(last: int, *, first: int = 0, broken: int = -1) -> Draw:
    """The same from a first step until Ctrl-C at the last; views of a broken step are not numbers.

    The loop draws data once a step.
    """
    steps = iter(range(first, last))

    def drawn(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        step = next(steps, last)
        if step == last:
            raise KeyboardInterrupt
        views, positions = draw(n, generator)
        return views * math.nan if step == broken else views, positions

    return drawn


def on_gaussians(network: Energy) -> Energy:
    """A network that tilts a Gaussian for each of the two positions."""
    return TiltedEnergy(
        GaussianEnergy.fit_positions(torch.stack([VIEWS[0::2], VIEWS[1::2]]), floor=1e-2), network, 0.05
    )


def convolutional() -> Energy:
    return on_gaussians(WideResNetEnergy(3, 10, 1, "batch", "silu", generator=generator(1)))


def linear() -> Energy:
    return on_gaussians(ResidualEnergy(VIEWS[0].numel(), 16, generator=generator(1)))


def fit(
    energy: Energy,
    negatives: Negatives,
    training: TrainingConfig,
    sampler: SamplerConfig | None = None,
    *,
    draw: Draw = draw,
    folder: Path | None = None,
    device: torch.device = CPU,
) -> State:
    """Train, and return the energy's state on the CPU."""
    fit_network(
        energy,
        draw,
        negatives,
        training=training,
        sampler=sampler,
        images=len(VIEWS),
        bound=1.0,
        seed=0,
        label="test",
        folder=folder,
        device=device,
    )
    assert not any(module.training for module in energy.modules())
    return {name: tensor.cpu() for name, tensor in energy.state_dict().items()}


def fit_all(*, draw: Draw = draw, folder: Path | None = None, device: torch.device = CPU) -> State:
    """Everything at once: a base, batch norm, chains in a buffer, noise, clipping, averaged weights."""
    training = replace(
        PLAIN, steps=10, warmup=2, data_noise=0.03, gradient_clip=1.0, averaging=0.9, checkpoint_every=4
    )
    sampler = PYLDConfig(outer=2, inner=5, lr=0.1, noise=0.01, buffer_size=12)
    return fit(convolutional(), CORRUPTED, training, sampler, draw=draw, folder=folder, device=device)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return fit_all(folder=folder), folder


def assert_equal(state: State, expected: State) -> None:
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


def test_the_energy_rises_on_negatives_and_falls_on_data() -> None:
    # The energy of this network is 0 before it is trained.
    network = ResidualEnergy(VIEWS[0].numel(), 16, generator=generator(1))
    uniform = UniformNegatives(draw, (3, 8, 8))
    fit(network, uniform, replace(PLAIN, steps=60))
    with torch.no_grad():
        assert network(draw(100, generator(5))[0]).mean() < -1
        assert network(uniform(100, generator(6))[0]).mean() > 1


class _Data:
    """Negatives that are data."""

    from_data = True

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return draw(n, generator)


@pytest.mark.parametrize("statistics", ["data", "own", "shared"])
def test_batch_norm_opens_no_gap_between_data_and_data(
    statistics: Literal["data", "own", "shared"], tmp_path: Path
) -> None:
    training = replace(PLAIN, steps=60, batch_size=16, negatives_statistics=statistics)
    fit(WideResNetEnergy(3, generator=generator(1), norm="batch"), _Data(), training, folder=tmp_path)
    (file,) = tmp_path.rglob("metrics.csv")
    with file.open() as stream:
        gaps = [float(point["energy/gap"]) for point in csv.DictReader(stream)]
    # Only chance tells one batch from another.
    assert abs(sum(gaps)) / len(gaps) < 0.1


def test_no_steps_train_nothing() -> None:
    energy = convolutional()
    before = {name: tensor.clone() for name, tensor in energy.state_dict().items()}
    assert_equal(fit(energy, CORRUPTED, replace(PLAIN, steps=0)), before)


def test_epochs_count_images() -> None:
    # 40 images are 6 batches of 6, rounded down.
    by_epochs = fit(linear(), CORRUPTED, replace(PLAIN, steps=None, epochs=2))
    by_steps = fit(linear(), CORRUPTED, replace(PLAIN, steps=12))
    assert_equal(by_epochs, by_steps)


@pytest.mark.parametrize("last", [2, 4, 7, 9])
def test_a_run_stopped_anywhere_and_resumed_ends_bit_for_bit_like_a_whole_one(
    whole: tuple[State, Path], tmp_path: Path, last: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_all(draw=draw_until(last), folder=tmp_path)
    assert (tmp_path / "last.ckpt").exists() == (last >= 4)
    resumed = fit_all(folder=tmp_path)
    assert_equal(resumed, whole[0])
    # Once more there is nothing left to do.
    assert_equal(fit_all(draw=draw_until(0), folder=tmp_path), resumed)


def test_the_base_is_not_in_the_checkpoint(whole: tuple[State, Path]) -> None:
    checkpoint = torch.load(whole[1] / "last.ckpt", weights_only=True)
    assert checkpoint["learner"].keys() == {
        name.removeprefix("network.") for name in whole[0] if name.startswith("network.")
    }


def test_a_run_keeps_its_curves_and_an_image_of_the_negatives(whole: tuple[State, Path]) -> None:
    folder = whole[1]
    with (folder / "csv" / "part0" / "metrics.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    gap = float(row["energy/negatives"]) - float(row["energy/data"])
    assert float(row["energy/gap"]) == pytest.approx(gap, abs=1e-4)
    assert float(row["chains/distance"]) > 0
    assert float(row["chains/gradient_norm"]) > 0
    assert {"loss", "chains/descent", "step"} < row.keys()
    assert (folder / "negatives.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "tensorboard").glob("events.*"))


def test_nothing_is_logged_of_chains_where_none_move(tmp_path: Path) -> None:
    fit(linear(), CORRUPTED, replace(PLAIN, steps=10), folder=tmp_path)
    header = (tmp_path / "csv" / "part0" / "metrics.csv").read_text().splitlines()[0]
    assert header == "energy/data,energy/gap,energy/negatives,loss,step"


def test_the_averaged_weights_are_the_moving_average_of_those_of_each_step() -> None:
    after = [fit(linear(), CORRUPTED, replace(PLAIN, steps=n)) for n in (1, 2, 3)]
    averaged = fit(linear(), CORRUPTED, replace(PLAIN, steps=3, averaging=0.75))
    for name, tensor in averaged.items():
        first, second, third = (state[name] for state in after)
        expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-7)


def test_clipping_bounds_the_gradient() -> None:
    # Adam does not notice the scale of gradients, until they are small beside its epsilon of 1e-8.
    before = linear().state_dict()
    for clip, moves in ((0.0, True), (1e-13, False)):
        after = fit(linear(), CORRUPTED, replace(PLAIN, gradient_clip=clip))
        moved = max(float((after[name] - before[name]).abs().max()) for name in before)
        assert (moved > 1e-3) == moves


def test_the_learning_rate_rises_stays_and_falls() -> None:
    training = TrainingConfig(warmup=4, decay_from=0.5)
    factors = [schedule(step, 100, training) for step in (0, 3, 4, 50, 75, 99)]
    assert factors == pytest.approx([0.2, 0.8, 1, 1, 0.5, 0.02])
    assert schedule(99, 100, replace(training, decay_from=1.0)) == 1


def test_a_run_that_diverges_goes_back_to_the_same_state_resumed_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = replace(PLAIN, steps=62, averaging=0.9, checkpoint_every=11)
    sampler = PYLDConfig(outer=1, inner=2, buffer_size=32)

    def run(first: int, last: int, folder: Path | None) -> State:
        negatives = NoisedNegatives(draw, (0.2, 1.0))
        steps = draw_until(last, first=first, broken=58)
        return fit(linear(), negatives, training, sampler, draw=steps, folder=folder)

    whole = run(0, 62, None)
    shown = capsys.readouterr().err
    assert shown.count("went back to the last good state") == 1
    assert "step 58: loss nan" in shown
    assert all(torch.isfinite(tensor).all() for tensor in whole.values())
    # The guard copies the state at step 50. One run is resumed before, at 44, and after, at 55.
    for first, last in ((0, 46), (44, 56)):
        with pytest.raises(KeyboardInterrupt):
            run(first, last, tmp_path)
    assert_equal(run(55, 62, tmp_path), whole)


@pytest.mark.parametrize(("broken", "factor"), [(-1, 1.0), (0, 0.5)])
def test_a_divergence_halves_the_learning_rate(broken: int, factor: float) -> None:
    # Adam's first step is as long as the learning rate.
    before, steps = linear().state_dict(), 1 if broken < 0 else 2
    drawn = draw_until(steps, broken=broken)
    after = fit(linear(), CORRUPTED, replace(PLAIN, steps=steps, lr=0.01), draw=drawn)
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert moved == pytest.approx(0.01 * factor, rel=1e-3)


class Recorder(ResidualEnergy):
    """A network that keeps what it was asked about."""

    def __init__(self) -> None:
        super().__init__(VIEWS[0].numel(), 4, generator=generator(1))
        self.asked: list[Tensor] = []

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        self.asked.append(x.detach())
        return super().first_stage(x)


@pytest.mark.parametrize("from_data", [False, True])
def test_noise_is_added_to_data_and_to_negatives_that_come_from_it(from_data: bool) -> None:
    def zeros(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.zeros(n, 3, 8, 8), torch.zeros(n, dtype=torch.long)

    negatives = CorruptedNegatives(zeros) if from_data else UniformNegatives(zeros, (3, 8, 8))
    energy = Recorder()
    fit(energy, negatives, replace(PLAIN, steps=1, batch_size=200, data_noise=5.0), draw=zeros)
    data, pushed_up = energy.asked
    assert float(data.std()) == pytest.approx(5, rel=0.05)
    assert (float(pushed_up.std()) > 4) == from_data


def test_chains_go_on_from_where_they_stopped(tmp_path: Path) -> None:
    uniform = UniformNegatives(draw, (3, 8, 8))
    sampler = SGLDConfig(steps=1, noise=0.1, buffer_size=10, restart=0.0)
    fit(linear(), uniform, replace(PLAIN, steps=1, batch_size=6), sampler, folder=tmp_path)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)["buffer"]["chains"]
    # The buffer is the first thing that the run's generator draws.
    init, _ = uniform(10, generator(0))
    assert int((kept != init).flatten(1).any(1).sum()) == 6


@pytest.mark.parametrize(("bytes_left", "file"), [(100, "curves"), (5000, "last.ckpt")])
# TensorBoard writes in a thread.
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bytes_left: int, file: str
) -> None:
    training = replace(PLAIN, steps=20, checkpoint_every=20 if file == "curves" else 4)
    message = rf"cannot write .*{'' if file == 'curves' else file}: .*free some space"
    # capsys: standard error is no file, which could not grow either.
    with full_disk(bytes_left), pytest.raises(PatchebmError, match=message):
        fit(linear(), CORRUPTED, training, folder=tmp_path)
    assert "Traceback" not in capsys.readouterr().err


NEGATIVES: dict[str, Callable[[], Negatives]] = {
    "noised": lambda: NoisedNegatives(draw, (0.2, 1.0)),
    "informative": lambda: InformativeNegatives(draw, VIEWS.clone()),
    "corrupted": lambda: CORRUPTED,
    "uniform": lambda: UniformNegatives(draw, (3, 8, 8)),
}
SAMPLERS = {
    "none": None,
    "pyld": PYLDConfig(outer=2, noise=0.01, buffer_size=12),
    "sgld": SGLDConfig(steps=2, noise=0.01, buffer_size=0),
    "shell": ShellConfig(steps=2),
}


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("objective", ["contrastive", "logistic"])
def test_a_step_on_another_device_is_the_same(objective: str, sampler: str, negatives: str) -> None:
    training = replace(PLAIN, steps=1, objective=objective, data_noise=0.03)
    expected = fit(linear(), NEGATIVES[negatives](), training, SAMPLERS[sampler])
    energy = linear()
    with PretendDevice():
        state = fit(energy, NEGATIVES[negatives](), training, SAMPLERS[sampler], device=DEVICE)
        assert {tensor.device for tensor in energy.state_dict().values()} == {DEVICE}
    assert_equal(state, expected)


def test_a_run_on_another_device_can_be_stopped_and_resumed_on_the_cpu(
    whole: tuple[State, Path], tmp_path: Path
) -> None:
    with PretendDevice(), pytest.raises(KeyboardInterrupt):
        fit_all(draw=draw_until(4), folder=tmp_path, device=DEVICE)
    with PretendDevice(), pytest.raises(KeyboardInterrupt):
        fit_all(draw=draw_until(2), folder=tmp_path, device=DEVICE)
    # Convolutions are summed up in another order there.
    torch.testing.assert_close(fit_all(folder=tmp_path), whole[0])


def test_lightning_is_imported_by_training_alone() -> None:
    code = "import sys, patchebm.training.fit; print('lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
