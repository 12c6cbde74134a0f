"""This module holds a table that can be shown on a page, in a terminal and in a file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

# Not every terminal and not every pipe takes what a page can show.
_ASCII = str.maketrans({"–": "-", "\N{NO-BREAK SPACE}": " "})


@dataclass(frozen=True)
class Table:
    """This class holds rows under a header; the first column names the row.

    Cells are str, bool, int, float or None. Numbers are formatted, and columns that hold any are set flush
    right; None and values that are not finite show as a dash.

    Args:
        caption: what the table shows.
        header: of the columns.
        rows: each as long as the header.
        best: (row, column) of cells to be set off from the others of their row.

    Raises:
        ValueError: a row is longer or shorter than the header.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    best: frozenset[tuple[int, int]] = frozenset()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"table {self.caption!r}: {len(row)} cells under {len(self.header)} headings"
                )

    @property
    def numeric(self) -> list[bool]:
        """Returns for each column whether it holds numbers, so that it is set flush right."""
        return [any(_is_number(row[i]) for row in self.rows) for i in range(len(self.header))]

    def text(self) -> str:
        """Returns the table as lines for a terminal, under its caption; ASCII but for names."""
        cells = [[cell(value).translate(_ASCII) for value in row] for row in (self.header, *self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, len(row)))])
            for row in cells
        ]
        return "\n".join([self.caption, *(line.rstrip() for line in lines)])

    def csv(self) -> str:
        """Returns the table as CSV: all digits of numbers, nothing for None."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([self.header, *self.rows])
        return stream.getvalue()


def cell(value: object) -> str:
    """Returns the text of a cell."""
    if value is None:
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    return number(float(value)) if isinstance(value, Real) else str(value)


def number(value: float) -> str:
    """Returns three decimals, or as many significant digits where that would show nothing or too much."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if 0 < size < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}"


def percent(share: float) -> str:
    """Returns a share as a percentage with as many digits as it can bear."""
    value = 100 * share
    if value in (0, 100) or value >= 10:
        return f"{value:.0f} %"
    return f"{value:.2g} %"


def _is_number(value: object) -> bool:
    """Returns whether a cell is set as a number; a bool is a yes or a no."""
    return isinstance(value, Real) and not isinstance(value, bool)
