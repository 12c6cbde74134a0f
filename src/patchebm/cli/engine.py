"""This module holds the options that say where work is done: processes of this machine, or a Ray cluster."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from patchebm.cli.options import Parser
from patchebm.errors import ConfigError

if TYPE_CHECKING:
    from patchebm.scale.engine import Engine


def add_engine_options(parser: Parser) -> None:
    """Adds the options that `check_engine` and `chosen_engine` read."""
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="default: local")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    parser.add_argument(
        "--address",
        help="of a Ray cluster, such as auto or HOST:6379 (default: Ray is started on this machine)",
    )
    parser.add_argument(
        "--num-cpus", type=float, metavar="N", help="cores that Ray gives a worker (default: 1)"
    )
    parser.add_argument(
        "--num-gpus", type=float, metavar="N", help="GPUs that Ray gives a worker (default: 0)"
    )


def check_engine(values: Namespace) -> None:
    """Raises ConfigError if a value cannot work, or is one of Ray without Ray."""
    if values.workers is not None and values.workers < 1:
        raise ConfigError(f"--workers is {values.workers}; give at least 1")
    rays = {"--address": values.address, "--num-cpus": values.num_cpus, "--num-gpus": values.num_gpus}
    given = [option for option, value in rays.items() if value is not None]
    if values.engine == "local" and given:
        raise ConfigError(f"{given[0]} is for --engine ray; add that or leave {given[0]} out")
    for option in ("--num-cpus", "--num-gpus"):
        if rays[option] is not None and rays[option] < 0:
            raise ConfigError(f"{option} is {rays[option]}; give 0 or more")


def chosen_engine(values: Namespace) -> Engine:
    """Returns what the parsed options say; raises as `check_engine`."""
    check_engine(values)
    if values.engine == "local":
        from patchebm.scale.local import LocalEngine

        return LocalEngine(values.workers)
    from patchebm.scale.ray_engine import RayEngine

    cpus = 1.0 if values.num_cpus is None else values.num_cpus
    return RayEngine(values.workers, values.address, cpus, values.num_gpus or 0.0)
