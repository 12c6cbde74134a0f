"""The thesis at reduced size: chains that move, what each part of the recipe is worth, and the baseline.

Everything is fitted on train/good alone; the test folders are scored once, after the last step. A run that is
in log.jsonl or in the committed results.json is not repeated, and one that was stopped goes on from its last
checkpoint, so that a killed benchmark goes on where it stopped. `--steps` shortens all trainings alike, and
rows of different lengths stand in tables of their own. `--variants` without a name makes the tables alone.
Curves of the trainings are kept in curves.json; `python -m benchmarks.thesis.curves` draws them.

    python -m benchmarks.thesis                                          # some days of one core
    python -m benchmarks.thesis --steps 100 --sets bottle --seeds 0      # what a busy machine does in an hour
    while python -m benchmarks.thesis --variants thesis jempp --sets bottle screw --device cuda --minutes 9
    [ $? -eq 3 ]; do :; done                                             # full size, in pieces, on a GPU

With `--minutes` it stops after so long, says so and exits with 3 as long as something is left to do. The loop
ends when nothing is left, and at an error.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks.common import QUICK_STEPS, Log, options, parse, write_results
from benchmarks.controls import evaluate_controls
from benchmarks.thesis.curves import collect
from benchmarks.thesis.runs import CHECKPOINT, one_run, run_folder, steps_of
from benchmarks.thesis.tables import results, tables
from benchmarks.thesis.variants import CHANGES, FULL_SIZE, SAME_TRAINING, SETS, SMALL, configuration
from patchebm.images.folders import open_image_set

HERE = Path(__file__).resolve().parent
UNFINISHED = 3
KEYS = ("set", "variant", "seed", "steps")


class PieceOverError(BaseException):
    """The time of a piece is over; as Ctrl-C, it is no `Exception` that a library may catch."""


@contextmanager
def piece(minutes: float | None) -> Iterator[None]:
    """Raises PieceOverError in the block after so many minutes."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise PieceOverError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 60 * (minutes or 0))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def run_all(log: Log, arguments: argparse.Namespace) -> None:
    """Measures what is not in the log."""
    done = {tuple(row.get(key) for key in KEYS) for row in log.rows}
    for seed in arguments.seeds if arguments.variants else ():
        for name in arguments.sets:
            image_set = open_image_set(arguments.data / name)
            if (name, "controls", 0, 0) not in done:
                controls = evaluate_controls(image_set)
                log.keep({"set": name, "variant": "controls", "seed": 0, "steps": 0, "controls": controls})
                done.add((name, "controls", 0, 0))
            for variant in arguments.variants:
                steps = QUICK_STEPS if arguments.quick else arguments.steps
                length = steps_of(configuration(variant, seed, steps))
                if (name, variant, seed, length) in done:
                    continue
                print(f"-- {name}, {variant}, seed {seed}, {length} steps", file=sys.stderr)
                folder, twin = (
                    run_folder(arguments.out, name, other, seed, length)
                    for other in (variant, SAME_TRAINING.get(variant, variant))
                )
                if twin.exists() and not folder.exists():
                    # Nothing is left to train: only what is made of the energies differs.
                    copied = folder.with_name(f"{folder.name}.part")
                    shutil.rmtree(copied, ignore_errors=True)
                    shutil.copytree(twin, copied)
                    copied.rename(folder)
                row = one_run(image_set, variant, seed, steps=steps, folder=folder, device=arguments.device)
                log.keep({**row, "device": device_name(arguments.device), "commit": arguments.commit})
                if variant in FULL_SIZE:
                    for checkpoint in folder.rglob(CHECKPOINT):
                        checkpoint.unlink()


def device_name(asked: str) -> str:
    """Returns the name of the card, or `cpu`."""
    import torch

    from patchebm.device import resolve_device

    device = resolve_device(asked)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def main(argv: list[str] | None = None) -> int:
    parser = options(HERE, __doc__, sets=SETS, seeds=(0, 1, 2), trains=True)
    parser.add_argument(
        "--variants",
        nargs="*",
        default=list(SMALL),
        choices=list(CHANGES),
        metavar="VARIANT",
        help=f"of {'; '.join(CHANGES)}; none makes the tables alone",
    )
    parser.add_argument("--steps", type=int, help="steps of each network; default: those of the preset")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    parser.add_argument("--commit", help="name of the code that runs, kept in each row")
    arguments = parse(parser, argv)
    log = Log(arguments.out)
    log.restore(KEYS)
    over = False
    try:
        with piece(arguments.minutes):
            run_all(log, arguments)
    except PieceOverError:
        over = True
        print("the time is over; the same command goes on from the last checkpoint", file=sys.stderr)
    collect(arguments.out, arguments.out, log.rows)
    write_results(arguments, results(log.rows), tables(log.rows))
    return UNFINISHED if over else 0


if __name__ == "__main__":
    sys.exit(main())
