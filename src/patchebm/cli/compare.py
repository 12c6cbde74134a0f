"""`patchebm compare RUN...`: several evaluated runs in one page, with tests of their differences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from patchebm.config.parser import Parser
from patchebm.errors import DataError
from patchebm.files import write_text


def run(argv: Sequence[str]) -> None:
    """Compare as the arguments say."""
    parser = Parser(prog="patchebm compare", description=__doc__)
    parser.add_argument("runs", nargs="+", help="run folders in which `patchebm evaluate` left results")
    parser.add_argument("--out", required=True, help="folder for compare.html and compare.json")
    values = parser.parse(argv)
    folders = [Path(run) for run in values.runs]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise DataError("name at least two run folders to compare, each once")

    from patchebm.evaluation.results import read_results
    from patchebm.report.compare import compare_runs, compare_sections, run_names
    from patchebm.report.page import write_report
    from patchebm.report.sections import Results

    by_set: dict[str, dict[str, Results]] = {}
    for name, folder in zip(run_names(folders), folders, strict=True):
        for image_set, results in read_results(folder).items():
            by_set.setdefault(image_set, {})[name] = results
    compared = compare_runs(by_set)
    out = Path(values.out)
    write_report(
        out / "compare.html", title="patchebm: runs compared", sections=compare_sections(by_set, compared)
    )
    write_text(out / "compare.json", json.dumps(compared, indent=1, allow_nan=False) + "\n")
    for facts in compared:
        print(facts["image_set"])
        for row in facts["runs"]:
            auroc = row["image_auroc"]
            print(f"  {row['run']:<30}{'-' if auroc is None else f'{auroc:.3f}':>8}")
        for pair in facts["pairs"]:
            if "difference" in pair:
                p_value = pair["p_value"]
                said = f"{pair['difference']:+.3f}, p {'-' if p_value is None else f'{p_value:.2g}'}"
            else:
                said = f"not compared: {pair['not_compared']}"
            print(f"  {pair['first']} less {pair['second']}: {said}")
    print(f"open {(out / 'compare.html').resolve()}")
