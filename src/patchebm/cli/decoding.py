"""This module holds the options that say how the numbers of image files become pixels."""

from __future__ import annotations

from argparse import Namespace

from patchebm.cli.config_options import ConfigParser
from patchebm.errors import ConfigError
from patchebm.images.decoding import BITS, Decoding, colour_of

_AUTO = "auto"


def add_decoding_options(parser: ConfigParser) -> None:
    """Adds the options that `given_decoding` reads."""
    parser.add_argument(
        "--bits",
        default=_AUTO,
        metavar="N",
        help="bits that the camera uses of 16-bit files (default: the brightest value tells)",
    )
    parser.add_rare_option(
        "--page",
        "which page is read of TIFF files that hold several, and of animations, from 1 on (default: such "
        "files are refused)",
        type=int,
        metavar="N",
    )
    parser.add_rare_option(
        "--range",
        "which numbers are black and white in files of floating-point or signed numbers (default: numbers "
        "outside 0 to 1 are refused)",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
    )
    parser.add_rare_option(
        "--background",
        "what shines through where an image is transparent: a name, a code such as #ff8000, or keep for the "
        "colours that the file has there (default: white)",
        default="white",
        metavar="COLOUR",
    )


def given_decoding(values: Namespace) -> Decoding:
    """Returns what the parsed options say.

    Raises:
        ConfigError: a value cannot work; says which.
    """
    ends = None if values.range is None else (values.range[0], values.range[1])
    return Decoding(_white_level(values.bits), values.page, colour_of(values.background), ends)


def _white_level(bits: str) -> int | None:
    if bits == _AUTO:
        return None
    if not bits.isdecimal() or int(bits) not in BITS:
        raise ConfigError(f"--bits is '{bits:.20}'; give {BITS[0]} to {BITS[-1]}, or auto")
    return int(2 ** int(bits) - 1)
