"""What a line gets from the station: from a PLC's trigger to the verdict, for each protocol, and over time.

The station runs in a process of its own with the model of its demo and a simulated camera of 640 x 480
pixels; PLC and broker run on the same cores. Three things are measured:

- the time from a trigger to its verdict at the PLC, parts one after another, beside what the station noted
  for the same part from image to verdict (decoding, model and map);
- the time from the return of a PLC or broker that was away to its first verdict;
- many triggers at a fixed rate: parts that are lost, doubled, refused or out of order.

    python -m benchmarks.line                          # over an hour
    python -m benchmarks.line --measure protocols      # ten minutes, on a machine that does nothing else

What is not measured is taken from the results that are there.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import options, parse, write_results
from benchmarks.line.plcs import line
from benchmarks.line.stations import stored
from patchebm.line.machine import hardware
from patchebm.station import demo_part

HERE = Path(__file__).resolve().parent
NAMES = {
    "mqtt": "MQTT",
    "opcua": "OPC UA",
    "modbus-server": "Modbus TCP, station as server",
    "modbus-client": "Modbus TCP, station as client",
    "s7": "S7",
}
SECTIONS = ("protocols", "endurance")
PARTS, WARM_UP, RETURNS = 300, 10, 5
ENDURANCE, RATE = 1800.0, 20.0
# Those that carry the test at a fixed rate: one with a handshake, and one without.
ENDURING = ("modbus-server", "mqtt")
# Milliseconds that may pass beside the model's own, and seconds until a counterpart works again.
WANTED_MS, WANTED_S = 15, 2


def protocol(kind: str, model: Path, parts: int) -> dict[str, Any]:
    """Returns the times from trigger to verdict, and those of returns, of one protocol."""
    load = os.getloadavg()[0]
    with line(kind, model) as found:
        for _ in range(WARM_UP + parts):
            found.plc.part()
        sent, taken = dict(found.plc.sent), dict(found.plc.taken)
        inside = stored(found.place)
        returns = [found.plc.go_and_return() for _ in range(RETURNS)]
    assert list(inside) == list(sent) == list(taken), "a part is lost, doubled or out of order"
    measured = list(inside)[WARM_UP:]
    whole = np.array([1000 * (taken[part] - sent[part]) for part in measured])
    model_ms = np.array([inside[part] for part in measured])
    return {
        "load_average": round(load, 1),
        "parts": len(measured),
        "whole_ms": _quantiles(whole),
        "model_ms": _quantiles(model_ms),
        "beside_ms": _quantiles(whole - model_ms),
        "returns_s": [round(seconds, 2) for seconds in returns],
    }


def endurance(kind: str, model: Path, seconds: float) -> dict[str, Any]:
    """Returns what becomes of many triggers at a rate."""
    load, count = os.getloadavg()[0], round(seconds * RATE)
    with line(kind, model) as found:
        for _ in range(WARM_UP):
            found.plc.part()
        began = time.monotonic()
        told = found.plc.at_rate(count, RATE)
        took = time.monotonic() - began
        sent, taken = dict(found.plc.sent), dict(found.plc.taken)
        # Stored once, which `stored` finds out, and told to the PLC.
        inside = stored(found.place)
    parts = list(sent)[WARM_UP:]
    given = [part for part in parts if part in taken]
    whole = np.array([1000 * (taken[part] - sent[part]) for part in given])
    lost = len(parts) - len(given) - told["refused"]
    return {
        "load_average": round(load, 1),
        "parts": len(parts),
        "per_second": round(len(given) / took, 1),
        "lost": lost + len(set(given) - set(inside)),
        **told,
        "whole_ms": _quantiles(whole),
    }


def table(results: dict[str, Any]) -> str:
    """The tables of the documentation."""
    loads = [row["load_average"] for row in results["protocols"]["found"].values()]
    lines = [
        f"{_machine(results['protocols'])} The load average was {min(loads)} to {max(loads)} when the "
        "protocols were begun.",
        "",
        "| protocol | trigger to verdict, median | p99 | image to verdict in the station, p99 | "
        f"beside it, median | p99 ({WANTED_MS} ms or less wanted) | first verdict after a return, slowest of "
        f"{RETURNS} ({WANTED_S} s or less wanted) |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, row in results["protocols"]["found"].items():
        cells = [
            NAMES[kind],
            *(f"{row[name][q]:.1f} ms" for name, q in (("whole_ms", "median"), ("whole_ms", "p99"))),
            f"{row['model_ms']['p99']:.1f} ms",
            *(f"{row['beside_ms'][q]:.1f} ms" for q in ("median", "p99")),
            f"{max(row['returns_s']):.2f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"{_machine(results['endurance'])} {results['endurance']['seconds']:g} seconds at {RATE:g} triggers "
        "a second, with the load average before:",
        "",
        "| protocol | load average | parts | a second | lost | sent again | refused | out of order | "
        "trigger to verdict, median | p99 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, row in results["endurance"]["found"].items():
        counts = [row[name] for name in ("load_average", "parts", "per_second")]
        counts += [row[name] for name in ("lost", "repeated", "refused", "disorder")]
        times = [f"{row['whole_ms'][q]:.1f} ms" for q in ("median", "p99")]
        lines.append(f"| {' | '.join([NAMES[kind], *map(str, counts), *times])} |")
    return "\n".join(lines) + "\n"


def _machine(section: dict[str, Any]) -> str:
    machine = section["hardware"]
    return f"{machine['processor']}, {machine['cores']} cores, {machine['system']}."


def _quantiles(values: Any) -> dict[str, float]:
    return {"median": round(float(np.median(values)), 2), "p99": round(float(np.quantile(values, 0.99)), 2)}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, and writes `results.json` and `table.md`."""
    parser = options(HERE, __doc__)
    parser.add_argument("--model", type=Path, help="bundle; default: the demo's, which is trained first")
    parser.add_argument("--parts", type=int, default=PARTS, help="of each protocol")
    parser.add_argument("--endurance", type=float, default=ENDURANCE, help="seconds at a fixed rate")
    parser.add_argument(
        "--measure",
        nargs="+",
        choices=SECTIONS,
        default=SECTIONS,
        metavar="WHAT",
        help=f"of {', '.join(SECTIONS)}; default: both",
    )
    arguments = parse(parser, argv)
    before = arguments.out / "results.json"
    results: dict[str, Any] = {}
    if set(arguments.measure) != set(SECTIONS):
        if not before.is_file():
            parser.error(f"{before} is missing; measure all first")
        known = json.loads(before.read_text(encoding="utf-8"))
        results = {section: known[section] for section in SECTIONS}
    own = {"command": arguments.command, "hardware": hardware()}
    with tempfile.TemporaryDirectory() as temporary:
        model = arguments.model or demo_part.train_model(Path(temporary))
        if "protocols" in arguments.measure:
            found = _each(NAMES, lambda kind: protocol(kind, model, arguments.parts))
            results["protocols"] = {**own, "found": found}
        if "endurance" in arguments.measure:
            found = _each(ENDURING, lambda kind: endurance(kind, model, arguments.endurance))
            results["endurance"] = {**own, "seconds": arguments.endurance, "found": found}
    write_results(arguments, results, {"table.md": table(results)})


def _each(kinds: Iterable[str], measure: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for kind in kinds:
        found[kind] = measure(kind)
        print(kind, found[kind], flush=True)
    return found


if __name__ == "__main__":
    main()
