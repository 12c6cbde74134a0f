"""This module names the columns of the results."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

BEFORE = (
    ("index", pa.int64()),
    ("image", pa.string()),
    ("score", pa.float64()),
    ("anomalous", pa.bool_()),
    ("tail_probability", pa.float64()),
    ("extrapolated", pa.bool_()),
)
AFTER = (("error", pa.string()), ("map", pa.string()))

RESULTS = frozenset(name for name, _ in (*BEFORE, *AFTER))
"""Columns of the results beside those of the levels, which begin with `level_`."""


def schema(level_names: Sequence[str], carried: pa.Schema) -> pa.Schema:
    """Returns the columns of a part of the results: of the image, its levels, and those carried along."""
    levels = [(level_column(name), pa.float64()) for name in level_names]
    return pa.schema([*BEFORE, *levels, *AFTER, *carried])


def level_column(name: str) -> str:
    """Returns what the column of a level's score is called."""
    return f"level_{name}"
