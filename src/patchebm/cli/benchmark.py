"""`patchebm benchmark ROOT --out DIR`: presets and seeds on several image sets, with tables."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from patchebm.cli.config_options import ConfigParser
from patchebm.cli.engine import add_engine_options, check_engine
from patchebm.cli.options import DEVICE_HELP, GOOD_HELP
from patchebm.cli.terminal import say, say_left_out
from patchebm.config.build import check_config
from patchebm.config.presets import DEFAULT_PRESET
from patchebm.errors import ConfigError, DataError, PatchebmError
from patchebm.evaluation.benchmark import Benchmark, Job, find_sets, fit_and_evaluate
from patchebm.evaluation.runlog import RunLog
from patchebm.files import write_text

# What every line of a benchmark's log has.
_LINE = {"set", "preset", "seed", "config_sha256", "data_sha256", "good_count"}


def run(argv: Sequence[str]) -> None:
    """Measure what the arguments say, as far as it is not in the log."""
    parser = ConfigParser(prog="patchebm benchmark", description=__doc__, preset=None, seed=False)
    parser.add_argument("root", help="folder of image sets, each in MVTec AD layout")
    parser.add_argument("--out", required=True, help="folder for log.jsonl, results.json and table.md")
    parser.add_argument(
        "--presets",
        nargs="+",
        default=[DEFAULT_PRESET],
        help="which presets; keys from files or options change all of them alike",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="each is a run")
    parser.add_argument("--sets", nargs="+", default=[], help="which folders of ROOT; all unless told")
    parser.add_argument("--good", nargs="+", default=[], metavar="NAME", help=GOOD_HELP)
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    add_engine_options(parser)
    if any(word.split("=", 1)[0] == "--seed" for word in argv):
        raise ConfigError("--seed is not an option of benchmark; name one or more seeds after --seeds")
    values, changes = parser.parse_config(argv)
    check_engine(values)
    if values.engine == "local" and values.workers is not None:
        raise ConfigError("--workers is for --engine ray: without it, one run follows the other")
    configs = {preset: changes.applied_to(preset) for preset in values.presets}
    seeds = list(dict.fromkeys(values.seeds))
    for config in configs.values():
        for seed in seeds:
            check_config(replace(config, seed=seed))
    names = find_sets(values.root, values.sets, good=values.good)

    # Only now the heavy imports: what can be wrong with the arguments has been checked.
    import patchebm.detector  # noqa: F401
    from patchebm.evaluation.benchmark_results import results
    from patchebm.progress import progress_bar
    from patchebm.report.benchmark_page import benchmark_markdown

    out = Path(values.out)
    benchmark = Benchmark(
        Path(values.root), configs, seeds, _open_log(out), partial(fit_and_evaluate, device=values.device)
    )
    for name in names:
        benchmark.open_set(name, good=values.good)
    for opened in benchmark.sets.values():
        say_left_out(opened.image_set.left_out)
    pending = benchmark.pending()
    _announce(benchmark, len(pending))

    def write() -> str:
        found = results(benchmark, ["patchebm", "benchmark", *argv])
        write_text(out / "results.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
        text = benchmark_markdown(found)
        write_text(out / "table.md", text)
        return text

    text = write()
    # Images rather than runs: a set of 1,000 images takes longer than one of 50.
    total = sum(benchmark.sets[job.set].size for job in pending)
    with progress_bar(total, "benchmark", "image", smoothing=0) as bar:
        done = 0
        for number, job in enumerate(_jobs(benchmark, values, bar.update), 1):
            done += benchmark.sets[job.set].size
            bar.update(done - bar.n)
            bar.set_postfix_str(f"{number} of {len(pending)} runs")
            # After every run, so that a benchmark that is killed leaves the tables of what it measured.
            text = write()
    print(text, end="")
    if benchmark.errors:
        first, others = benchmark.errors[0], len(benchmark.errors) - 1
        more = f" ({others} more in {out / 'table.md'})" if others else ""
        raise PatchebmError(f"{first['set']} could not be measured: {first['error']}{more}")


def _jobs(benchmark: Benchmark, values: Namespace, tick: Callable[[int], object]) -> Iterator[Job]:
    """Measures what is pending; yields each job when it is done."""
    if values.engine == "local":
        return benchmark.run(tick)
    from patchebm.scale.ray_benchmark import RayJobs

    cpus = 1.0 if values.num_cpus is None else values.num_cpus
    return benchmark.run_on(
        RayJobs(values.workers, values.address, cpus, values.num_gpus or 0.0, values.device)
    )


def _open_log(out: Path) -> RunLog:
    """Returns the log in a folder, which must be that of a benchmark, or hold none and no results either."""
    file = out / "log.jsonl"
    if not file.exists():
        for name in ("results.json", "table.md"):
            if (out / name).exists():
                raise DataError(
                    f"{out} holds a {name} and no log of a benchmark; choose another --out or remove it"
                )
    log = RunLog(file)
    if not all(set(row) >= _LINE for row in log.rows):
        raise DataError(f"{file} holds what is no run of `patchebm benchmark`; choose another --out")
    return log


def _announce(benchmark: Benchmark, pending: int) -> None:
    """This function says what is bad already, what is done already, and what is done again."""
    for error in benchmark.errors:
        say(f"left out: {error['set']}: {error['error']}")
    for job in benchmark.pending():
        if benchmark.changed(job):
            say(
                f"{job.set}, {job.preset}, seed {job.seed}: the configuration or the images have changed "
                "since it was measured; it is measured again"
            )
    if benchmark.log.unreadable:
        say(f"{benchmark.log.file}: lines that are no whole run and do not count: {benchmark.log.unreadable}")
    finished = len(benchmark.rows())
    say(f"{finished} runs are in {benchmark.log.file}, {pending} are to be measured")
