"""`patchebm compare RUN...`: several evaluated runs in one page, with tests of their differences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchebm.config.parser import Parser
from patchebm.errors import DataError
from patchebm.files import write_text


def run(argv: Sequence[str]) -> None:
    """Compares as the arguments say."""
    parser = Parser(prog="patchebm compare", description=__doc__)
    parser.add_argument("runs", nargs="+", help="run folders in which `patchebm evaluate` left results")
    parser.add_argument("--out", required=True, help="folder for compare.html and compare.json")
    values = parser.parse(argv)
    folders = [Path(run) for run in values.runs]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise DataError("name at least two run folders to compare, each once")

    from patchebm.evaluation.comparison import compare_runs, run_names
    from patchebm.evaluation.results import read_results
    from patchebm.report.compare_page import compare_text, write_compare_page

    by_set: dict[str, dict[str, Any]] = {}
    for name, folder in zip(run_names(folders), folders, strict=True):
        for image_set, results in read_results(folder).items():
            by_set.setdefault(image_set, {})[name] = results
    compared = compare_runs(by_set)
    page = Path(values.out) / "compare.html"
    write_compare_page(page, by_set, compared)
    write_text(page.with_suffix(".json"), json.dumps(compared, indent=1, allow_nan=False) + "\n")
    print(compare_text(compared))
    print(f"open {page.resolve()}")
