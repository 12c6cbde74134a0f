"""This module writes the table of a fleet: a page, CSV and Parquet."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patchebm.files import as_unicode
from patchebm.report.page import render
from patchebm.report.table import Table
from patchebm.scale.storage import Store

_HEADINGS = {
    "false_alarm_rate": "false-alarm rate",
    "good_tested": "good images tested",
    "expected_alarms": "expected alarms",
    "observed_alarms": "observed alarms",
    "defects_tested": "defects tested",
    "defects_missed": "defects missed",
    "auroc": "image AUROC",
    "share_anomalous": "share anomalous",
    "drift_p_value": "p-value of drift",
}
_TYPES = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    list: pa.list_(pa.string()),
}
# Between the sentences of a cell of CSV.
_BETWEEN = " | "


def write_fleet_tables(
    store: Store, caption: str, columns: Mapping[str, type], lines: Sequence[Mapping[str, Any]], products: int
) -> None:
    """Writes `fleet.html`, `fleet.csv` and `fleet.parquet`.

    Args:
        store: of the fleet.
        caption: what the table shows.
        columns: their names, and the types of their cells.
        lines: of the products that are done: a value or None for each column.
        products: how many there are in all.

    Raises:
        PatchebmError: a file cannot be written; names it.
    """
    errors = [f"{line['product']}: {line['error']}" for line in lines if line["error"] is not None]
    cells = [[_cell(line[column]) for column in columns] for line in lines]
    store.write("fleet.csv", as_unicode(Table(caption, list(columns), cells).csv()).encode())
    store.write("fleet.parquet", _parquet(columns, lines))
    # Sentences stand below the table, not in it.
    shown = [column for column, kind in columns.items() if kind is not list]
    rows = [[line[column] for column in shown] for line in lines]
    page = render(
        "fleet.html",
        title=f"patchebm: {caption.lower()}",
        table=Table(caption, [_HEADINGS.get(column, column) for column in shown], rows),
        products=products,
        failed=len(errors),
        errors=errors,
        warned=[(line["product"], line["warning_texts"]) for line in lines if line["warning_texts"]],
        has_alarms="expected_alarms" in columns,
    )
    store.write("fleet.html", as_unicode(page).encode())


def _parquet(columns: Mapping[str, type], lines: Sequence[Mapping[str, Any]]) -> bytes:
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])
    cells = [{name: _unicode(value) for name, value in line.items()} for line in lines]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(cells, schema), stream)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    """Returns a value as it stands in CSV."""
    return _BETWEEN.join(value) if isinstance(value, list) else value


def _unicode(value: Any) -> Any:
    if isinstance(value, list):
        return [_unicode(one) for one in value]
    return as_unicode(value) if isinstance(value, str) else value
