"""Checkpoints, without a training."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from patchebm.errors import PatchebmError, TrainingError
from patchebm.training.checkpoint import Checkpoint


def checkpoint(path: Path, *, size: int = 4, seed: int = 0) -> tuple[Checkpoint, nn.Linear, torch.Generator]:
    network, generator = nn.Linear(size, size), torch.Generator().manual_seed(1)
    return Checkpoint(path, seed, generator, {"network": network}), network, generator


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """Files of this process cannot grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    saved, network, generator = checkpoint(tmp_path / "last.ckpt")
    assert saved.load() == 0
    torch.rand(7, generator=generator)
    saved.save(12)
    loaded, other, other_generator = checkpoint(tmp_path / "last.ckpt")
    assert not torch.equal(other.weight, network.weight)
    assert loaded.load() == 12
    assert torch.equal(other.weight, network.weight)
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=other_generator))


def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoint_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    saved, _, _ = checkpoint(path)
    saved.save(12)
    with full_disk(1000), pytest.raises(PatchebmError, match=r"cannot write .*last\.ckpt.*free some space"):
        saved.save(24)
    assert list(tmp_path.iterdir()) == [path]
    assert saved.load() == 12


@pytest.mark.parametrize("damage", ["truncated", "text", "foreign", "code", "seed", "network"])
def test_a_checkpoint_that_cannot_be_used_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.ckpt"
    saved, _, _ = checkpoint(path, size=5 if damage == "network" else 4, seed=1 if damage == "seed" else 0)
    saved.save(12)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "foreign":
        torch.save({"state_dict": {}}, path)
    elif damage == "code":
        torch.save({"network": print}, path)
    with pytest.raises(TrainingError, match=r"last\.ckpt .*delete it to start over"):
        checkpoint(path)[0].load()
