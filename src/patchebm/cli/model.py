"""This module holds the options of all verbs that open a model, and opens it."""

from __future__ import annotations

from argparse import Namespace

from patchebm.cli.options import PIXEL_RATE, PIXEL_RATE_HELP, RATE, RATE_HELP, Parser
from patchebm.cli.terminal import note
from patchebm.loading import load
from patchebm.runtime.predictor import Predictor


def add_model_options(parser: Parser) -> None:
    """Adds the options that `open_model` reads."""
    parser.add_argument("--threads", type=int, help="cores that one image uses, of a bundle (default: all)")
    add_device_options(parser)
    parser.add_argument(RATE, type=float, help=f"{RATE_HELP} (default: that of the model)")
    parser.add_argument(PIXEL_RATE, type=float, help=f"{PIXEL_RATE_HELP} (default: that of the model)")


def add_region_options(parser: Parser) -> None:
    """Adds what says which regions are listed."""
    parser.add_argument(
        "--smallest-region",
        type=int,
        default=1,
        metavar="PX",
        help="leave out regions of fewer pixels of the image (default: 1)",
    )


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
    model.notices.say = note
    if values.false_alarm_rate is not None:
        model = model.at_false_alarm_rate(values.false_alarm_rate)
    if values.false_pixel_rate is not None:
        model = model.at_false_pixel_rate(values.false_pixel_rate)
    return model
