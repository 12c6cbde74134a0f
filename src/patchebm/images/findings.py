"""This module holds one thing that was found about an image set, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Weight = Literal["error", "warning", "note"]
"""An error stops `train`, a warning spoils a model or its figures, a note is good to know."""

WEIGHTS: tuple[Weight, ...] = ("error", "warning", "note")
"""The weightiest first."""


@dataclass(frozen=True)
class Finding:
    """This class is one finding.

    Attributes:
        kind: a word that stays the same, for programs.
        weight: how much it matters.
        sentence: what was found, with an example, without a full stop.
        fix: what to do about it, or "" where nothing is to be done.
        files: all that it is about, a line each; may be empty.
    """

    kind: str
    weight: Weight
    sentence: str
    fix: str = ""
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.sentence}; {self.fix}" if self.fix else self.sentence
