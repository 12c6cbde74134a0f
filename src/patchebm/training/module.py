"""The training step as a Lightning module: data down, chains up.

All randomness of a run flows through one generator whose state is in every checkpoint, as are the replay
buffer and the averaged weights: a resumed run goes on exactly where the killed one stopped.
"""

from __future__ import annotations

import sys
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from patchebm.config.schema import TrainingConfig
from patchebm.energy.base import Energy
from patchebm.errors import TrainingError
from patchebm.training.guard import DivergenceGuard
from patchebm.training.negatives import Draw, Start
from patchebm.training.objective import contrastive_loss, logistic_loss
from patchebm.training.replay_buffer import ReplayBuffer
from patchebm.training.samplers import Sampler, gaussian_noise


class EnergyModule(pl.LightningModule):
    """Fits one energy.

    Args:
        energy: what is fitted; only its parameters learn, its buffers are those of fitted bases.
        draw: draws data views and their grid positions.
        start: draws starts of chains.
        sampler: moves chains.
        buffer_size: chains in the replay buffer; 0 starts every chain again.
        restart: share of the buffer's chains that start over.
        config: optimiser and objective.
        steps: optimiser steps of the whole run.
        seed: of the run's generator.
    """

    def __init__(
        self,
        energy: Energy,
        draw: Draw,
        start: Start,
        sampler: Sampler,
        *,
        buffer_size: int,
        restart: float,
        config: TrainingConfig,
        steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        # Checkpoints hold the learner, not the base that it stands on.
        self.strict_loading = False
        self.energy = energy
        self.averaged: AveragedModel | None = None
        if config.averaging:
            # Batch statistics are moving averages already: the averaged model takes the latest ones.
            average = get_ema_multi_avg_fn(config.averaging)  # type: ignore[no-untyped-call]
            self.averaged = AveragedModel(energy.learner, multi_avg_fn=average)
        self._draw = draw
        self._start = start
        self._sampler = sampler
        self._config = config
        self.steps = steps
        # Halved by every roll-back.
        self._slow_down = 1.0
        self._objective = contrastive_loss if config.objective == "contrastive" else logistic_loss
        self._seed = seed
        self._generator = torch.Generator().manual_seed(seed)
        self._buffer: ReplayBuffer | None = None
        if buffer_size:
            self._buffer = ReplayBuffer(buffer_size, start, restart, self._generator)
        self._guard = DivergenceGuard(self._capture, self._restore, self._say)
        self.messages: list[str] = []
        self.last_views: tuple[Tensor, Tensor, Tensor] | None = None
        """Data, starts and ends of chains `(B, C, H, W)` of the last step, for an image of them."""

    def finish(self) -> None:
        """Put the averaged weights, where there are any, into the energy, ready to score."""
        if self.averaged is not None:
            self.energy.learner.load_state_dict(self.averaged.module.state_dict())
        self.energy.eval()

    def on_fit_start(self) -> None:
        """Let the guard take its first copy, once the optimiser exists and a checkpoint is loaded."""
        self._guard.start()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor | None:
        """One step; `batch` is only a step number, the views are drawn here."""
        del batch, batch_idx
        n = self._config.batch_size
        data, positions = self._draw(n, self._generator)
        data, positions = data.to(self.device), positions.to(self.device)
        data = self._noisy(data)
        starts, chain_positions, places = self._starts(n)
        # Evaluation mode: chains meet the data's batch statistics and leave no trace in them.
        self.energy.eval()
        chains, log = self._sampler(self.energy.at(chain_positions), starts, self._generator)
        if self._start.from_data:
            # Chains that start at data have its texture: noise on one side only would be all that is learnt.
            chains = self._noisy(chains)
        chain_energy = self.energy.at(chain_positions)(chains)
        self.energy.train()
        data_energy = self.energy.at(positions)(data)

        loss = self._objective(data_energy, chain_energy, self._config.energy_penalty)
        gap = float(chain_energy.detach().mean() - data_energy.detach().mean())
        if not self._guard.check(self.global_step, float(loss.detach()), gap):
            return None
        if self._buffer is not None and places is not None:
            self._buffer.put(places, chains)
        self.last_views = (data.detach(), starts, chains)
        self.log_dict(
            {
                "loss": loss.detach(),
                "energy/data": data_energy.detach().mean(),
                "energy/chains": chain_energy.detach().mean(),
                "energy/gap": gap,
                "chains/distance": log.distance,
                "chains/gradient_norm": log.gradient_norm,
                "chains/descent": log.energy_start - log.energy_end if log.gradient_norm else 0.0,
            }
        )
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the averaged weights follow before any callback writes a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        if self.averaged is not None:
            self.averaged.update_parameters(self.energy.learner)

    def configure_optimizers(self) -> Any:
        """Adam with L2 penalty, as in JEM++ and the thesis, and the learning rate's schedule."""
        adam = torch.optim.Adam(
            self.energy.learner.parameters(), lr=self._config.lr, weight_decay=self._config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(adam, self._learning_rate_factor)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _learning_rate_factor(self, step: int) -> float:
        rise = min(1.0, (step + 1) / (self._config.warmup + 1))
        left = (self.steps - step) / max(1.0, self.steps * (1 - self._config.decay_from))
        return self._slow_down * rise * min(1.0, max(0.02, left))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the generator, the chains and the roll-back count; leave out what is fitted again."""
        # A Gaussian per position is a hundred times the network's size, and is not what is trained here.
        state = checkpoint["state_dict"]
        for name in [name for name in state if name.startswith("energy.base.")]:
            del state[name]
        checkpoint["patchebm"] = {
            "seed": self._seed,
            "generator": self._generator.get_state(),
            "rollbacks": self._guard.rollbacks,
            "slow_down": self._slow_down,
            "buffer": None if self._buffer is None else [self._buffer.chains, self._buffer.positions],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back."""
        state = checkpoint["patchebm"]
        if state["seed"] != self._seed:
            raise TrainingError("a checkpoint belongs to another run or member; delete it to start over")
        self._generator.set_state(state["generator"])
        self._guard.rollbacks = state["rollbacks"]
        self._slow_down = state["slow_down"]
        if self._buffer is not None:
            self._buffer.chains, self._buffer.positions = state["buffer"]

    def _noisy(self, views: Tensor) -> Tensor:
        if not self._config.data_noise:
            return views
        return views + self._config.data_noise * gaussian_noise(views, self._generator)

    def _starts(self, n: int) -> tuple[Tensor, Tensor, Tensor | None]:
        if self._buffer is None:
            chains, positions = self._start(n, self._generator)
            return chains.to(self.device), positions.to(self.device), None
        chains, positions, places = self._buffer.sample(n, self._generator)
        return chains.to(self.device), positions.to(self.device), places

    def _capture(self) -> dict[str, Any]:
        return {
            "energy": self.energy.learner.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimiser": self._adam().state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._slow_down /= 2
        self.energy.learner.load_state_dict(state["energy"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self._adam().load_state_dict(state["optimiser"])
        if self._buffer is not None:
            # Chains of an energy that ran away lead nowhere.
            self._buffer.refill(self._generator)

    def _adam(self) -> torch.optim.Optimizer:
        optimiser = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimiser, torch.optim.Optimizer)
        return optimiser

    def _say(self, sentence: str) -> None:
        self.messages.append(sentence)
        # Above the progress bar, wherever that stands.
        tqdm.write(sentence, file=sys.stderr)
