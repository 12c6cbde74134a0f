"""What the benchmark programs share: their options, a log of their runs, fits, and the files that they write.

Nothing here imports torch before a detector is fitted: the cost harness measures how long that import takes.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchebm.evaluation.runlog import RunLog
from patchebm.files import write_text
from patchebm.images.folders import ImageFile
from patchebm.provenance import versions

if TYPE_CHECKING:
    from patchebm.config.base import RunConfig
    from patchebm.detector import EnsembleDetector

HERE = Path(__file__).resolve().parent
# Image sets with defects that are photographs.
SETS = ("bottle", "cubes", "solar_poly", "magnetic_tile", "circuitboard", "tire", "screw", "capsules")
# Steps of a training with --quick.
QUICK_STEPS = 5


def options(
    folder: Path,
    doc: str | None,
    *,
    sets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    trains: bool = False,
) -> argparse.ArgumentParser:
    """Returns a parser with the options that several programs have.

    Args:
        folder: of the program, where its results are committed.
        doc: what the program is, for `--help`.
        sets: image sets that are measured unless told otherwise; none for a program that takes none.
        seeds: the same of seeds.
        trains: whether the program trains energies.
    """
    name = f"python -m benchmarks.{folder.name}"
    parser = argparse.ArgumentParser(
        prog=name, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if sets:
        data = Path(os.environ.get("PATCHEBM_DATA", HERE.parents[1] / "shared" / "data"))
        parser.add_argument("--data", type=Path, default=data, help=f"folder of image sets (default {data})")
        parser.add_argument(
            "--sets", nargs="+", default=list(sets), metavar="SET", help=f"default: {' '.join(sets)}"
        )
    if seeds:
        default = " ".join(map(str, seeds))
        parser.add_argument(
            "--seeds", nargs="+", type=int, default=list(seeds), metavar="SEED", help=f"default: {default}"
        )
    if trains:
        parser.add_argument("--device", default="auto", help="where energies are fitted and images scored")
        parser.add_argument(
            "--quick",
            action="store_true",
            help=f"train for {QUICK_STEPS} steps, to try the program: its figures mean nothing; needs --out",
        )
    parser.add_argument("--out", type=Path, default=folder, help="folder of log.jsonl and of the results")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the options, and the command that gave them as `command`."""
    arguments = parser.parse_args(argv)
    if getattr(arguments, "quick", False) and arguments.out == parser.get_default("out"):
        parser.error("--quick needs another --out than the folder of the committed results")
    given = sys.argv[1:] if argv is None else argv
    arguments.command = shlex.join([*parser.prog.split(), *given])
    return arguments


class Log(RunLog):
    """Runs as they are finished, in `log.jsonl` of a folder; what is in it is not measured again.

    Args:
        folder: made if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "log.jsonl")

    @property
    def done(self) -> set[tuple[str, str, int]]:
        """Set, variant and seed of each finished run."""
        return {(row["set"], row["variant"], row["seed"]) for row in self.rows}

    def restore(self, known_by: Sequence[str] | Callable[[dict[str, Any]], Hashable]) -> None:
        """Takes in the runs of the `results.json` beside the log that it lacks.

        The log is not committed, and results are: so a fresh checkout loses no run and measures none again.
        Runs that were borrowed from another benchmark stay there.

        Args:
            known_by: keys of a row by which a run is known, or what gives them.
        """
        file = self.file.with_name("results.json")
        if not file.exists():
            return

        def key(row: dict[str, Any]) -> Hashable:
            return known_by(row) if callable(known_by) else tuple(row.get(name) for name in known_by)

        known = {key(row) for row in self.rows}
        for row in json.loads(file.read_text(encoding="utf-8"))["runs"]:
            if "from" not in row and key(row) not in known:
                super().keep(row)

    def keep(self, row: dict[str, Any]) -> None:
        """Appends a run to the file and prints it."""
        super().keep(row)
        print(json.dumps(row), flush=True)


def shorten(config: RunConfig) -> RunConfig:
    """Returns the configuration with a training of few steps, as `--quick` has it."""
    for name in config.levels:
        network = config.level(name).network
        if network is not None:
            network.training.steps = min(network.training.steps or QUICK_STEPS, QUICK_STEPS)
    return config


def fitted(config: RunConfig, images: Sequence[ImageFile], device: str) -> EnsembleDetector:
    """Returns a detector that was fitted on images, whose physical parts are known or not."""
    from patchebm.detector import EnsembleDetector

    groups = [image.group for image in images]
    return EnsembleDetector(config, device=device).fit([image.path for image in images], groups)


def runs_of(benchmark: str) -> tuple[list[dict[str, Any]], str]:
    """Returns the committed runs of another benchmark, if there are any, and the file that holds them."""
    file = HERE / benchmark / "results.json"
    name = file.relative_to(HERE.parent).as_posix()
    runs = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
    # Those that it has borrowed in its turn are not its own.
    return [run for run in runs if "from" not in run], name


def write_results(
    arguments: argparse.Namespace, results: Mapping[str, Any], tables: Mapping[str, str]
) -> None:
    """Writes `results.json` with the command and the versions, and tables, which are printed too."""
    facts: dict[str, Any] = {"command": arguments.command, "versions": versions()}
    if getattr(arguments, "quick", False):
        facts["quick"] = True
    write_text(arguments.out / "results.json", json.dumps({**facts, **results}, indent=1) + "\n")
    for name, text in tables.items():
        write_text(arguments.out / name, text)
        print(text)
