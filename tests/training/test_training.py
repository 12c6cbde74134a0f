"""The objective, the loop, resume after a kill, and the divergence guard."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchebm.config.schema import TrainingConfig
from patchebm.energy import Energy, GaussianEnergy, TiltedEnergy, WideResNetEnergy
from patchebm.errors import TrainingError
from patchebm.training.guard import DivergenceGuard
from patchebm.training.loop import train
from patchebm.training.module import EnergyModule
from patchebm.training.negatives import CorruptedStart
from patchebm.training.objective import contrastive_loss, logistic_loss
from patchebm.training.samplers import PYLD

VIEWS = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(9)) * 0.4


def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return VIEWS[torch.randint(len(VIEWS), (n,), generator=generator)], torch.zeros(n, dtype=torch.long)


def module(steps: int, **changes: object) -> EnergyModule:
    energy: Energy = WideResNetEnergy(3, 10, 1, "batch", "silu", generator=torch.Generator().manual_seed(1))
    energy = TiltedEnergy(GaussianEnergy.fit(VIEWS[None].clone(), floor=1e-2), energy, 0.05)
    config = TrainingConfig(batch_size=8, averaging=0.9, **changes)  # type: ignore[arg-type]
    return EnergyModule(
        energy,
        draw,
        CorruptedStart(draw),
        PYLD(2, 5, 0.1, 1.0, 0.01),
        buffer_size=16,
        restart=0.05,
        config=config,
        steps=steps,
        seed=0,
    )


def run(steps: int, folder: Path | None, total: int | None = None) -> EnergyModule:
    """Train with a schedule for `total` steps, but stop after `steps`."""
    trained = module(total or steps)
    trained.steps = steps
    train(trained, checkpoint_every=4, gradient_clip=1.0, label="test", folder=folder)
    return trained


def test_the_losses_are_those_of_the_docstrings() -> None:
    data, chains = torch.tensor([1.0, 3.0]), torch.tensor([0.5])
    assert float(contrastive_loss(data, chains)) == pytest.approx(2 - 0.5)
    assert float(contrastive_loss(data, chains, 0.1)) == pytest.approx(1.5 + 0.1 * (5 + 0.25))
    expected = (math.log1p(math.e) + math.log1p(math.e**3)) / 2 + math.log1p(math.e**-0.5)
    assert float(logistic_loss(data, chains)) == pytest.approx(expected, rel=1e-6)


def test_training_separates_data_from_chains() -> None:
    trained = run(40, None)
    generator = torch.Generator().manual_seed(5)
    negatives, _ = CorruptedStart(draw)(40, generator)
    energy = trained.energy
    before = module(1).energy.eval()
    gap = (energy(negatives).mean() - energy(VIEWS).mean()).detach()
    assert gap > (before(negatives).mean() - before(VIEWS).mean()).detach()


def test_a_resumed_run_ends_bit_for_bit_like_one_that_was_not_stopped(tmp_path: Path) -> None:
    whole = run(10, tmp_path / "whole")
    again = run(10, None)
    # Checkpoints lie at 4 and 8: what came after 8 of the first run is done again.
    run(9, tmp_path / "parts", total=10)
    resumed = run(10, tmp_path / "parts")
    for name, tensor in whole.energy.state_dict().items():
        assert torch.equal(tensor, again.energy.state_dict()[name]), name
        assert torch.equal(tensor, resumed.energy.state_dict()[name]), name


def test_logs_and_images_are_kept(tmp_path: Path) -> None:
    run(12, tmp_path)
    header = (tmp_path / "csv" / "part0" / "metrics.csv").read_text().splitlines()[0]
    for name in ("energy/gap", "chains/distance", "chains/gradient_norm", "loss"):
        assert name in header
    assert (tmp_path / "chains.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.parametrize("damage", ["truncated", "text", "foreign"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    run(4, tmp_path)
    checkpoint = tmp_path / "last.ckpt"
    if damage == "truncated":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    elif damage == "text":
        checkpoint.write_text("not a checkpoint")
    else:
        torch.save({"state_dict": {}}, checkpoint)
    with pytest.raises(TrainingError, match=r"last\.ckpt"):
        run(8, tmp_path)


def test_averaged_weights_score() -> None:
    trained = run(5, None)
    assert trained.averaged is not None
    for a, b in zip(trained.energy.learner.parameters(), trained.averaged.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_poisoned_network_is_rolled_back() -> None:
    trained = module(12)
    original = trained.optimizer_step
    calls = []

    def poison(*args: object, **kwargs: object) -> None:
        original(*args, **kwargs)
        calls.append(1)
        if len(calls) == 3:
            with torch.no_grad():
                next(trained.energy.learner.parameters()).fill_(float("nan"))

    trained.optimizer_step = poison  # type: ignore[method-assign]
    train(trained, checkpoint_every=100, gradient_clip=1.0, label="test", folder=None)
    assert len(trained.messages) == 1
    assert "last good state" in trained.messages[0]
    assert torch.isfinite(trained.energy(VIEWS)).all()
    assert trained._learning_rate_factor(5) == pytest.approx(0.5)


def test_the_guard_gives_up_after_so_many_rollbacks() -> None:
    state = {"weight": 1.0}
    said: list[str] = []
    guard = DivergenceGuard(lambda: state, state.update, said.append, max_rollbacks=2)
    guard.start()
    state["weight"] = 5.0
    assert not guard.check(1, float("nan"), 0.0)
    assert state["weight"] == 1.0
    assert not guard.check(2, 1.0, 1e9)
    with pytest.raises(TrainingError, match="diverged 3 times"):
        guard.check(3, float("inf"), 0.0)
    assert len(said) == 2


def test_the_guard_keeps_only_states_with_a_good_run_behind_them() -> None:
    state = {"weight": 0.0}
    guard = DivergenceGuard(lambda: state, state.update, lambda _: None, every=3)
    guard.start()
    for step in range(1, 6):
        state["weight"] = float(step)
        assert guard.check(step, 0.1, 0.1)
    assert not guard.check(6, float("nan"), 0.0)
    assert state["weight"] == 3.0


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    # A folder that cannot be made stands in for the disk; tests/cli tries a disk that really is full.
    from patchebm.errors import PatchebmError
    from patchebm.training.checkpoint import AtomicCheckpointIO

    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(PatchebmError, match="cannot write"):
        AtomicCheckpointIO().save_checkpoint({"a": 1}, blocked / "last.ckpt")
    assert list(tmp_path.iterdir()) == [blocked]
