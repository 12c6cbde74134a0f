"""A network that several processes train together, by gloo on the CPU.

Two processes are compared with one that has the doubled batch. They take the same steps, to rounding, where
both see the same views and negatives: here the numbers of the views follow from the generator's seed and from
how much was drawn, so that the two processes draw the two halves of what one draws. All chains of a replay
buffer move in every step (its size is the batch) and none starts over, so that its random order does not
matter; there is no noise. Batch norm is left out of that test, since a process normalises by the statistics
of its own batch.
"""

from __future__ import annotations

import csv
import math
import os
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchebm.config.training import PYLDConfig, SamplerConfig, TrainingConfig
from patchebm.energy import Energy, GaussianEnergy, TiltedEnergy, WideResNetEnergy
from patchebm.energy.wrn import Norm
from patchebm.errors import ConfigError, DivergedError, PatchebmError, TrainingError
from patchebm.training.fit import fit_network
from patchebm.training.negatives import CorruptedNegatives, Draw, Negatives
from patchebm.training.ranks import Ranks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

State = dict[str, Tensor]
BATCH = 4
SEED = 5
VIEWS = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(9)) * 0.4
SETTINGS = TrainingConfig(
    steps=8, batch_size=BATCH, warmup=1, lr=1e-3, averaging=0.5, gradient_clip=0.5, checkpoint_every=3
)
CHAINS = PYLDConfig(outer=2, inner=5, lr=0.1, buffer_size=BATCH, restart=0.0)


@dataclass
class Ordered:
    """Draws views one after another: of each 2 * BATCH the first process gets the first half.

    Attributes:
        broken: from which drawing on views are no numbers.
    """

    broken: float = math.inf
    drawn: dict[int, int] = field(default_factory=dict)

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        seed = generator.initial_seed()
        number = self.drawn.get(seed, 0)
        self.drawn[seed] = number + 1
        begin = 0 if seed == SEED else BATCH
        assert seed in (SEED, Ranks(1, 2).seed(SEED))
        rows = (2 * BATCH * number + begin + torch.arange(n)) % len(VIEWS)
        views = VIEWS[rows] * math.nan if number >= self.broken else VIEWS[rows]
        return views, rows % 2


@dataclass
class Shifted:
    """Negatives: views in another order, brighter."""

    draw: Ordered
    from_data: bool = False

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        views, positions = self.draw(n, generator)
        return (views.flip(3) + 0.3).clamp(-1, 1), positions


def tilted(norm: Norm) -> Energy:
    """A network that tilts a Gaussian for each of two positions."""
    network = WideResNetEnergy(3, 10, 1, norm, "silu", generator=torch.Generator().manual_seed(1))
    gaussians = GaussianEnergy.fit_positions(torch.stack([VIEWS[0::2], VIEWS[1::2]]), floor=1e-2)
    return TiltedEnergy(gaussians, network, 0.05)


def fit(
    devices: int,
    training: TrainingConfig = SETTINGS,
    sampler: SamplerConfig | None = CHAINS,
    *,
    norm: Norm = "group",
    folder: Path | None = None,
    draw: Draw | None = None,
    negatives: Negatives | None = None,
) -> State:
    energy = tilted(norm)
    fit_network(
        energy,
        draw or Ordered(),
        negatives or Shifted(Ordered()),
        training=training,
        sampler=sampler,
        images=len(VIEWS),
        bound=1.0,
        seed=SEED,
        label="test",
        folder=folder,
        device=torch.device("cpu"),
        devices=devices,
    )
    assert not any(module.training for module in energy.modules())
    return {name: tensor.clone() for name, tensor in energy.learner.state_dict().items()}


def doubled(training: TrainingConfig, sampler: PYLDConfig) -> tuple[TrainingConfig, PYLDConfig]:
    return replace(training, batch_size=2 * BATCH), replace(sampler, buffer_size=2 * BATCH)


def curves(folder: Path) -> list[dict[str, float]]:
    (file,) = folder.rglob("metrics.csv")
    with file.open(newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def largest_difference(found: State, expected: State) -> float:
    return max(float((found[name] - tensor).abs().max()) for name, tensor in expected.items())


def test_two_processes_take_the_steps_of_one_with_the_doubled_batch(tmp_path: Path) -> None:
    training = replace(SETTINGS, steps=10)
    two = fit(2, training, folder=tmp_path / "two")
    one = fit(1, *doubled(training, CHAINS), folder=tmp_path / "one")
    before = dict(tilted("group").learner.state_dict())
    assert largest_difference(one, before) > 5e-3
    assert largest_difference(two, one) < 2e-6
    # The first process alone takes other steps: what the second one adds can be told.
    assert largest_difference(fit(1, training), one) > 5e-4
    # The first process writes, and what it writes is of both.
    assert [file.name for file in (tmp_path / "two").rglob("*.csv")] == ["metrics.csv"]
    assert curves(tmp_path / "two") == [pytest.approx(row, abs=1e-4) for row in curves(tmp_path / "one")]
    kept = torch.load(tmp_path / "two" / "last.ckpt", weights_only=True)
    whole = torch.load(tmp_path / "one" / "last.ckpt", weights_only=True)
    chains = torch.cat([kept["buffer"]["chains"], kept["others"][0]["buffer"]["chains"]])
    ordered = [c[c.flatten(1).sum(1).argsort()] for c in (chains, whole["buffer"]["chains"])]
    torch.testing.assert_close(*ordered, atol=1e-3, rtol=0)


@dataclass
class Random:
    """Draws random views, and is interrupted at a drawing."""

    last: int = -1
    drawn: int = 0

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.drawn == self.last:
            raise KeyboardInterrupt
        self.drawn += 1
        rows = torch.randint(len(VIEWS), (n,), generator=generator)
        return VIEWS[rows], rows % 2


def test_a_run_goes_on_bit_for_bit_with_the_generators_and_chains_of_both(tmp_path: Path) -> None:
    """With everything that is random or belongs to one process: batch norm, noise, chains that start over."""
    sampler = replace(CHAINS, buffer_size=6, restart=0.3, noise=0.01)
    training = replace(SETTINGS, data_noise=0.05)

    def run(folder: Path, devices: int = 2, last: int = -1) -> State:
        negatives = CorruptedNegatives(Random())
        draw = Random(last)
        return fit(devices, training, sampler, norm="batch", folder=folder, draw=draw, negatives=negatives)

    whole = run(tmp_path / "whole")
    assert float(whole["final.0.running_mean"].abs().max()) > 0
    with pytest.raises(TrainingError, match="a process of the training on 2 devices failed"):
        run(tmp_path / "stopped", last=5)
    kept = torch.load(tmp_path / "stopped" / "last.ckpt", weights_only=True)
    assert kept["steps"] == 3
    (other,) = kept["others"]
    assert not torch.equal(kept["generator"], other["generator"])
    assert not torch.equal(kept["buffer"]["chains"], other["buffer"]["chains"])
    with pytest.raises(
        TrainingError, match=r"last\.ckpt is of a training on 2 devices; go on with --devices 2"
    ):
        run(tmp_path / "stopped", devices=1)
    resumed = run(tmp_path / "stopped")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_what_a_process_raises_is_its_own_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        DivergedError, match=r"the energy diverged 6 times, last at step 5 .*lower training\.lr"
    ) as caught:
        fit(2, draw=Ordered(broken=0))
    assert caught.value.rollbacks == 5
    said = capfd.readouterr().err
    assert said.count("went back to the last good state") == 5
    assert "distributed" not in said
    (tmp_path / "file").write_text("")
    with pytest.raises(PatchebmError, match="cannot"):
        fit(2, folder=tmp_path / "file")


def test_what_cannot_be_given_to_a_process_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"cannot be given to other processes .*; leave --devices out"):
        fit(2, draw=lambda n, generator: Ordered()(n, generator))


class Deadly(Shifted):
    """Negatives at which the second process ends without a word, as one does that the system kills."""

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if generator.initial_seed() != SEED:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(n, generator)


def test_a_process_that_dies_is_one_sentence() -> None:
    with pytest.raises(
        TrainingError, match=r"^a process of the training on 2 devices failed, .*SIGKILL"
    ) as raised:
        fit(2, negatives=Deadly(Ordered()))
    assert "\n" not in str(raised.value)
