"""This module holds the options of all verbs that open a model, and opens it."""

from __future__ import annotations

from argparse import Namespace

from patchebm.cli.options import RATE, Parser
from patchebm.loading import load
from patchebm.runtime.predictor import Predictor


def add_model_options(parser: Parser) -> None:
    """Adds the options that `open_model` reads."""
    parser.add_argument("--threads", type=int, help="of a bundle, that one image uses; default: all cores")
    add_device_options(parser)
    parser.add_argument(RATE, type=float, help="share of good parts that may be called anomalous")


def add_device_options(parser: Parser) -> None:
    """Adds the options that say what computes."""
    parser.add_argument(
        "--provider",
        help="what computes a bundle: cpu (default), or what `patchebm doctor` lists, such as cuda or gpu",
    )
    parser.add_argument(
        "--device", default="auto", help="what computes a run folder: auto, cpu, cuda, cuda:N, xpu or mps"
    )


def open_model(path: str, values: Namespace) -> Predictor:
    """Returns the model at a path, opened as the parsed options say.

    Raises:
        ModelFileError: it is missing, truncated, altered or of another version.
        ConfigError: an option that cannot be had here; says what can.
    """
    model = load(path, threads=values.threads, provider=values.provider, device=values.device)
    rate = values.false_alarm_rate
    return model if rate is None else model.at_false_alarm_rate(rate)
