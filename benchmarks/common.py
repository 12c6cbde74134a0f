"""What the benchmarks share: variants of presets, and a log of their runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patchebm.config.parser import load_preset
from patchebm.config.schema import Config
from patchebm.evaluation.runlog import RunLog


def preset(name: str, change: Callable[[Config], None] = lambda config: None) -> Callable[[int], Config]:
    """A variant: seed -> the preset's configuration with that seed, changed."""

    def build(seed: int) -> Config:
        config = load_preset(name)
        config.seed = seed
        change(config)
        return config

    return build


class Log(RunLog):
    """Runs of variants as they are finished, in `log.jsonl` of a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "log.jsonl")

    @property
    def done(self) -> set[tuple[str, str, int]]:
        """Set, variant and seed of each finished run."""
        return {(row["set"], row["variant"], row["seed"]) for row in self.rows}

    def keep(self, row: dict[str, Any]) -> None:
        """Append a run to the file and say it."""
        super().keep(row)
        print(json.dumps(row), flush=True)
