"""PYLD-M-N in closed form against the literal loop and against SGLD, side by side in one run.

Everything starts from the same network and the same chains. Times are medians over repeats that take turns,
so that a busy moment hits all alike; only ratios are to be compared. A network that is in log.jsonl is not
timed again: remove the log to measure again.

It takes about ten minutes, on a machine that does nothing else.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Log, options, parse, write_results
from patchebm.energy import WideResNetEnergy
from patchebm.evaluation.summary import markdown
from patchebm.training.losses import contrastive_loss
from patchebm.training.samplers import PYLD, SGLD, ChainLog, Sampler

HERE = Path(__file__).resolve().parent
NETWORKS = ((10, 1), (10, 2))
SEED = 0
BATCH, SIDE = 32, 32
# Freshly drawn, the network's input gradients are so small that chains would not move: the head is scaled
# so that a call carries pixels a good part of the way across the [-1, 1] range.
STEEPNESS = 100.0


def network(depth: int, width: int) -> WideResNetEnergy:
    generator = torch.Generator().manual_seed(SEED)
    energy = WideResNetEnergy(3, depth, width, "batch", "leaky_relu", generator=generator).eval()
    with torch.no_grad():
        energy.head.weight.mul_(STEEPNESS)
    return energy


def medians(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Returns the median seconds of each call, taking turns, after one warm-up each."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def move(sampler: Sampler, energy: WideResNetEnergy, start: torch.Tensor) -> tuple[torch.Tensor, ChainLog]:
    return sampler(energy, start, torch.Generator().manual_seed(SEED + 1))


def iteration(sampler: Sampler, energy: WideResNetEnergy, start: torch.Tensor) -> None:
    """Runs a whole training iteration: chains, both energies, gradients of the parameters."""
    energy.zero_grad()
    chains, _ = move(sampler, energy, start)
    contrastive_loss(energy(start), energy(chains)).backward()


def name(depth: int, width: int) -> str:
    return f"WRN-{depth}-{width}"


def compare(depth: int, width: int, repeats: int) -> dict[str, Any]:
    """Returns all figures of one network."""
    energy = network(depth, width)
    start = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(SEED + 2)) * 2 - 1
    row: dict[str, Any] = {"network": name(depth, width), "size": SIDE, "batch": BATCH}
    for outer, inner in ((10, 5), (20, 10)):
        closed, literal = PYLD(outer, inner), PYLD(outer, inner, literal=True)
        # The same reach by plain gradient steps: as many as there are inner steps in all.
        sgld = SGLD(outer * inner, lr=closed.lr, noise=0.0)
        (a, log), (b, _), (_, sgld_log) = (move(s, energy, start) for s in (closed, literal, sgld))
        # Chains are chaotic: a rounding error doubles at every step. In double precision it stays small.
        double = network(depth, width).double()
        exact_a, exact_b = (move(s, double, start.double())[0] for s in (closed, literal))
        seconds = medians(
            {
                "closed": lambda s=closed: move(s, energy, start),
                "literal": lambda s=literal: move(s, energy, start),
                "sgld": lambda s=sgld: move(s, energy, start),
            },
            repeats,
        )
        row[f"PYLD-{outer}-{inner}"] = {
            "largest_difference_float64": float((exact_a - exact_b).abs().max()),
            "largest_difference_float32": float((a - b).abs().max()),
            "distance": log.distance,
            "sgld_distance": sgld_log.distance,
            "seconds": {name: round(value, 4) for name, value in seconds.items()},
            "closed_faster_than_literal": round(seconds["literal"] / seconds["closed"], 3),
            "closed_faster_than_sgld": round(seconds["sgld"] / seconds["closed"], 3),
        }
    row["iteration_against_sgld20"] = against_jem(energy, start, repeats)
    return row


def against_jem(energy: WideResNetEnergy, start: torch.Tensor, repeats: int) -> dict[str, Any]:
    """Times an iteration with JEM's SGLD-20 against PYLD with the fewest passes that travel as far."""
    jem = SGLD(20, lr=1.0, noise=0.01)
    _, target = move(jem, energy, start)
    result: dict[str, Any] = {"sgld20_distance": target.distance}
    for inner in (5, 10):
        for outer in range(1, 41):
            pyld = PYLD(outer, inner)
            _, log = move(pyld, energy, start)
            if log.distance >= target.distance:
                break
        seconds = medians(
            {
                "pyld": lambda s=pyld: iteration(s, energy, start),
                "sgld20": lambda: iteration(jem, energy, start),
            },
            repeats,
        )
        result[f"inner_{inner}"] = {
            "outer": outer,
            "distance": log.distance,
            "seconds": {name: round(value, 4) for name, value in seconds.items()},
            "iteration_faster": round(seconds["sgld20"] / seconds["pyld"], 3),
        }
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown: calls, then training iterations."""
    calls, iterations = [], []
    for row in rows:
        for call in ("PYLD-10-5", "PYLD-20-10"):
            facts = row[call]
            calls.append(
                [
                    row["network"],
                    call,
                    f"{facts['closed_faster_than_literal']:.2f}",
                    f"{facts['closed_faster_than_sgld']:.2f}",
                    f"{facts['distance']:.3f}",
                    f"{facts['largest_difference_float64']:.0e}",
                    f"{facts['largest_difference_float32']:.0e}",
                ]
            )
        jem = row["iteration_against_sgld20"]
        iterations.append([row["network"], "SGLD-20 (JEM)", "20", f"{jem['sgld20_distance']:.3f}", "1"])
        for inner in (5, 10):
            facts = jem[f"inner_{inner}"]
            iterations.append(
                [
                    row["network"],
                    f"PYLD-{facts['outer']}-{inner}",
                    str(facts["outer"]),
                    f"{facts['distance']:.3f}",
                    f"{facts['iteration_faster']:.2f}",
                ]
            )
    head = [
        "network",
        "call",
        "literal loop / closed form",
        "SGLD, same reach / closed form",
        "distance travelled",
        "largest difference, float64",
        "float32",
    ]
    below = ["network", "sampler", "passes", "distance travelled", "training iteration: SGLD-20 / this"]
    return markdown(head, calls) + "\n" + markdown(below, iterations)


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__)
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contender; default: 3")
    arguments = parse(parser, argv)
    log = Log(arguments.out)
    done = {row["network"] for row in log.rows}
    for depth, width in NETWORKS:
        if name(depth, width) not in done:
            log.keep(compare(depth, width, arguments.repeats))
    results = {"seeds": [SEED], "threads": torch.get_num_threads(), "rows": log.rows}
    write_results(arguments, results, {"table.md": table(log.rows)})


if __name__ == "__main__":
    main()
