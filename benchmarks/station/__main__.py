"""What the inspection station costs: throughput beside the bare runtime, latency under load, a long history.

A station with the model of the demo runs in its own process, five pages open. This one pushes JPEG images
of 256 px to it, on the same cores, as controllers would not: the share of the bare runtime is a lower
bound. Throughput of both is measured in turns. The CPU time of a part is measured, too, which other work on
the machine hardly moves. A history of 100,000 parts is then written into its database and searched.

    python -m benchmarks.station               # three minutes on a machine that does nothing else
    python -m benchmarks.station --install     # with a fresh install, from the registry, and Chromium
"""

from __future__ import annotations

import argparse
import http.client
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import numpy as np
from sqlalchemy import insert

from benchmarks.common import options, parse, write_results
from benchmarks.station import first_verdict
from patchebm.line.machine import hardware
from patchebm.loading import load
from patchebm.station import demo_part
from patchebm.station.database.base import now, time_id
from patchebm.station.database.history import Inspection
from patchebm.station.roles import COMMAND_LINE
from patchebm.station.services import inspections, tokens
from patchebm.station.setup import add_product, make_station
from patchebm.station.station import Station

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGES, SECONDS, TURNS, LOAD, SENDERS = 5, 8.0, 3, 0.7, 8
HISTORY, SEARCHES = 100_000, 8
DRAWN, SEED = 32, 0


def bare(model: Path, images: Sequence[bytes], seconds: float) -> dict[str, float]:
    """Images in a second that threads inspect, with their maps, as many threads as cores; CPU time of one."""
    predictor = load(model, threads=1, warm_up=True)
    counts: list[int] = []
    deadline = time.monotonic() + seconds

    def work(first: int) -> None:
        done = 0
        while time.monotonic() < deadline:
            predictor.predict([images[(first + done) % len(images)]])
            done += 1
        counts.append(done)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(cores())]
    began, cpu = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent, done = time.process_time() - cpu, sum(counts)
    return {"per_second": done / (time.monotonic() - began), "cpu_ms": 1000 * spent / done}


def push(
    url: str, token: str, images: Sequence[bytes], seconds: float, rate: float | None
) -> dict[str, float]:
    """Pushes images from eight connections: as fast as they are answered, or at a rate. Latencies in ms."""
    latencies: list[float] = []
    due: queue.Queue[float | None] = queue.Queue()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
    deadline = time.monotonic() + seconds

    def work(first: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        done = 0
        while time.monotonic() < deadline:
            # At a rate, latency counts from when the part was due: a late sender hides nothing.
            began = time.monotonic() if rate is None else due.get()
            if began is None:
                return
            image = images[(first + done) % len(images)]
            connection.request("POST", "/api/v1/products/part/inspections", image, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 201, answer.status
            latencies.append(1000 * (time.monotonic() - began))
            done += 1
        connection.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(SENDERS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    if rate is not None:
        following = began
        while time.monotonic() < deadline:
            following += 1 / rate
            time.sleep(max(0.0, following - time.monotonic()))
            due.put(following)
        for _ in threads:
            due.put(None)
    for thread in threads:
        thread.join()
    return {
        "parts": len(latencies),
        "per_second": len(latencies) / (time.monotonic() - began),
        "median_ms": statistics.median(latencies),
        "p99_ms": float(np.quantile(latencies, 0.99)),
    }


def cpu_seconds(process: int) -> float:
    """CPU time of a process so far, in user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def watching(url: str, token: str) -> Iterator[None]:
    """Pages with a live view."""
    stop = threading.Event()

    def watch() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        with (
            httpx.Client(base_url=url, headers=headers, timeout=30) as client,
            client.stream("GET", "/events") as stream,
        ):
            for _ in stream.iter_lines():
                if stop.is_set():
                    return

    threads = [threading.Thread(target=watch, daemon=True) for _ in range(PAGES)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """A station in a process of its own: its address and its process."""
    command = [sys.executable, "-m", "patchebm.cli.main", "station", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        while True:
            try:
                if httpx.get(url + "/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def memory_mb(process: int) -> float:
    """Resident memory now."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def fill(station: Station, count: int) -> None:
    """Copies the newest part into a long history, a part every ten seconds."""
    with station.session() as session:
        last = inspections.search(session, inspections.Filters(), limit=1)[0]
        row = {c.key: getattr(last, c.key) for c in Inspection.__mapper__.column_attrs}
    chance = np.random.default_rng(SEED)
    begin = now() - timedelta(seconds=10 * count)
    for first in range(0, count, 5000):
        rows = []
        for i in range(first, min(first + 5000, count)):
            moment = begin + timedelta(seconds=10 * i)
            score = float(chance.normal())
            own = {"id": time_id(moment), "time": moment, "part": f"P-{i:06d}", "score": score}
            own |= {"anomalous": score > 2.5, "idempotency_key": None, "image_deleted": moment}
            rows.append(row | own | {"review": "defective" if i % 997 == 0 else None})
        with station.session(write=True) as session:
            session.execute(insert(Inspection), rows)


def searches(url: str, token: str) -> dict[str, float]:
    """Milliseconds of searches over HTTP, the median of each kind."""
    hour = now() - timedelta(days=5)
    queries: dict[str, dict[str, Any]] = {
        "newest": {},
        "product and NG": {"product": "part", "verdict": "NG"},
        "part": {"part": "P-05*"},
        "an hour": {"since": hour.isoformat(), "until": (hour + timedelta(hours=1)).isoformat()},
        "score": {"product": "part", "min_score": 3.0},
        "level, none found": {"product": "part", "level": "position", "min_level": 1000.0},
        "unreviewed": {"product": "part", "review": "none"},
        "reviewed": {"product": "part", "review": "defective"},
    }
    found = {}
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        for name, parameters in queries.items():
            address, times = f"/api/v1/inspections?{urlencode(parameters)}", []
            for _ in range(SEARCHES):
                began = time.perf_counter()
                client.get(address).raise_for_status()
                times.append(1000 * (time.perf_counter() - began))
            found[name] = round(statistics.median(times), 1)
    return found


def install() -> dict[str, float]:
    """Size and time of `pip install patchebm[station]` into a new environment, without pip's own 15 MB."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        site = next(Path(folder).glob("lib/*/site-packages"))
        before, began = size_mb(site), time.monotonic()
        wanted = ["-c", str(ROOT / "constraints.txt"), f"{ROOT}[station]"]
        subprocess.run([f"{folder}/bin/pip", "install", "--quiet", *wanted], check=True)
        return {"mb": round(size_mb(site) - before), "seconds": round(time.monotonic() - began)}


def size_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def cores() -> int:
    return len(os.sched_getaffinity(0))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures everything but the install."""
    seconds, images = arguments.seconds, demo_part.images("train", DRAWN)
    results: dict[str, Any] = {"load_average": round(os.getloadavg()[0], 1)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = arguments.model
        if model is None:
            (folder / "training").mkdir()
            model = demo_part.train_model(folder / "training")
        station = Station(make_station(folder / "station", None))
        with station.session(write=True) as session:
            token = tokens.add(session, COMMAND_LINE, "bench", "operator")
        add_product(station, COMMAND_LINE, "part", "", str(model))
        url, process = stack.enter_context(served(folder / "station"))
        time.sleep(2)
        results["idle_memory_mb"] = round(memory_mb(process))
        # The first requests build what all others share.
        push(url, token, images, seconds / 2, None)
        turns = []
        for _ in range(TURNS):
            alone = bare(model, images, seconds)
            with watching(url, token):
                before = cpu_seconds(process)
                pushed = push(url, token, images, seconds, None)
                spent = 1000 * (cpu_seconds(process) - before) / pushed["parts"]
            turn = {"bare_per_second": alone["per_second"], "pushed_per_second": pushed["per_second"]}
            turns.append(turn | {"bare_cpu_ms": alone["cpu_ms"], "station_cpu_ms": spent})
        results["turns"] = [{k: round(v, 1) for k, v in turn.items()} for turn in turns]
        results["share_of_bare"] = round(
            statistics.median(t["pushed_per_second"] / t["bare_per_second"] for t in turns), 2
        )
        results["cpu_over_bare"] = round(
            statistics.median(t["station_cpu_ms"] / t["bare_cpu_ms"] for t in turns), 2
        )
        rate = LOAD * statistics.median(t["pushed_per_second"] for t in turns)
        with watching(url, token):
            loaded = push(url, token, images, 2 * seconds, rate)
        results["at_70_percent"] = {k: round(v, 1) for k, v in loaded.items()}
        results["p99_over_median"] = round(loaded["p99_ms"] / loaded["median_ms"], 1)
        memory = memory_mb(process)
        fill(station, arguments.history)
        results["search_ms"] = searches(url, token)
        push(url, token, images, seconds, None)
        results["memory_growth_mb"] = round(memory_mb(process) - memory, 1)
        station.engine.dispose()
    return results


def table(results: dict[str, Any]) -> str:
    """The table of the documentation."""
    name, slowest = max(results["search_ms"].items(), key=lambda item: item[1])
    turn = results["turns"][0]
    per_second = f"{turn['pushed_per_second']} of {turn['bare_per_second']} a second in the first turn"
    at_70 = results["at_70_percent"]
    latency = f"{at_70['p99_ms']} over {at_70['median_ms']} ms"
    rows = [
        (f"throughput over that of the bare runtime, five pages open ({per_second})",
         results["share_of_bare"], "0.85 or more"),
        ("CPU time of a part over that of the bare runtime", results["cpu_over_bare"], ""),
        (f"p99 latency over the median at 70 % of that load ({latency})", results["p99_over_median"],
         "3 or less"),
        (f"slowest search among {results['history']:,} parts: {name}", f"{slowest} ms", "below 100 ms"),
        ("growth of memory from then on, searches and pushed parts included",
         f"{results['memory_growth_mb']} MB", "below 20 MB"),
        ("idle memory", f"{results['idle_memory_mb']} MB", "250 MB or less"),
    ]  # fmt: skip
    if "install" in results:
        took = f"{results['install']['seconds']} s"
        rows.append(
            (f"install with everything it needs ({took})", f"{results['install']['mb']} MB", "330 MB or less")
        )
        rows.append(first_verdict.row(results["first_verdict"]))
    machine = results["hardware"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}."
    lines = [
        f"{where} The load average was {results['load_average']} before the run: on a machine that does "
        "other work, only ratios that were measured in turns mean something.",
        "",
        "| figure | measured | wanted |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {name} | {value} | {wanted} |" for name, value, wanted in rows)]) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, and writes `results.json` and `table.md`."""
    parser = options(HERE, __doc__)
    parser.add_argument("--model", type=Path, help="bundle; default: the demo's, which is trained first")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each turn")
    parser.add_argument("--history", type=int, default=HISTORY, help="parts of the long history")
    parser.add_argument("--install", action="store_true", help="measure a fresh install, too")
    arguments = parse(parser, argv)
    results = {"hardware": hardware(), "history": arguments.history, **measure(arguments)}
    if arguments.install:
        results["install"] = install()
        with tempfile.TemporaryDirectory() as folder:
            model = arguments.model or demo_part.train_model(Path(folder))
            results["first_verdict"] = first_verdict.measure(model, demo_part.images("train", 1)[0])
    write_results(arguments, results, {"table.md": table(results)})


if __name__ == "__main__":
    main()
