"""`patchebm station COMMAND ...`: the inspection station, from camera to verdict, history and thresholds.

A station is a folder with its settings, its database (unless that is PostgreSQL), models and images.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from patchebm.cli.options import Parser
from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError, DataError, PatchebmError

if TYPE_CHECKING:
    from patchebm.station.settings import Settings
    from patchebm.station.station import Station

_HOW = "install it with: pip install 'patchebm[station]'"
# Modules of the extra `line`.
_LINE = ("paho", "pymodbus", "snap7", "asyncua")
_ROLES = "operator, engineer or admin"
_TOKEN_ROLES = f"line (pushes images alone), {_ROLES}"

_ROI_KEYS = ("x", "y", "width", "height")
_ROI = "X,Y,WIDTH,HEIGHT in pixels of the image"

_USAGE = """usage: patchebm station COMMAND ...

The inspection station: inspects parts, keeps their history and learns from reviews.

commands:
  init DIR             make a station
  user add DIR NAME    add a person who signs in
  token add DIR NAME   add a token for cameras and programs, and print it
  product add DIR NAME add a product, with its model
  product change DIR NAME
                       change its title or its region of interest
  serve DIR            inspect parts, and show pages in a browser
  backup DIR FILE      copy a station, also while it runs
  restore FILE DIR     make a station from a copy
  io-test DIR          try each camera and output, and say what is wrong
  plc-sim KIND         be the PLC at the other end of an output, to rehearse
  demo                 show a line with synthetic products

`patchebm station COMMAND --help` tells more.
"""


def run(argv: Sequence[str]) -> None:
    """Runs a command as the arguments say."""
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE, end="")
        if not words:
            raise ConfigError("station needs a command; see `patchebm station --help`")
        return
    command = words.pop(0)
    if command in ("user", "token", "product"):
        command += f" {words.pop(0)}" if words else ""
    if command not in _COMMANDS:
        raise ConfigError(
            f"station has no command '{command}'{nearest(command, _COMMANDS)}; commands are "
            + ", ".join(_COMMANDS)
        )
    # As a list: the type checker, which runs for 3.10, would take what follows for dead.
    if list(sys.version_info) < [3, 11]:
        raise ConfigError("the station needs Python 3.11 or later, as its web framework does")
    # Databases, images and tokens are their owner's alone.
    os.umask(0o077)
    try:
        _COMMANDS[command](words)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("patchebm", ""):
            raise
        if package in _LINE:
            raise ConfigError(
                f"this needs {package}, which is not installed; install it with: pip install 'patchebm[line]'"
            ) from error
        raise ConfigError(f"the station needs {package}, which is not installed; {_HOW}") from error


def _init(argv: Sequence[str]) -> None:
    parser = _parser("init", "Make a station in a folder.")
    parser.add_argument("--database", help="postgresql://user:password@host/name; default: SQLite in DIR")
    values = parser.parse(argv)

    from patchebm.station.setup import make_station

    settings = make_station(Path(values.dir), values.database)
    print(f"station: {settings.folder} ({settings.url.get_backend_name()})")
    print(f"next: patchebm station user add {values.dir} NAME --role admin --password-file FILE")


def _user(argv: Sequence[str]) -> None:
    parser = _parser("user add", "Add a person who signs in.")
    parser.add_argument("name")
    parser.add_argument("--role", required=True, help=_ROLES)
    parser.add_argument(
        "--password-file", required=True, help="file whose first line is the password; - is standard input"
    )
    values = parser.parse(argv)
    password = _first_line(values.password_file)

    from patchebm.station.roles import COMMAND_LINE
    from patchebm.station.services import users

    with _open(values.dir) as (station, _), station.session(write=True) as session:
        user = users.add(session, COMMAND_LINE, values.name, password, values.role)
    print(f"user: {user.name} ({user.role})")


def _token(argv: Sequence[str]) -> None:
    parser = _parser(
        "token add", "Add a token for cameras and programs, and print it: it is shown this once."
    )
    parser.add_argument("name")
    parser.add_argument("--role", required=True, help=_TOKEN_ROLES)
    values = parser.parse(argv)

    from patchebm.station.roles import COMMAND_LINE
    from patchebm.station.services import tokens

    with _open(values.dir) as (station, _), station.session(write=True) as session:
        secret = tokens.add(session, COMMAND_LINE, values.name, values.role)
    print(secret)


def _product(argv: Sequence[str]) -> None:
    parser = _parser("product add", "Add a product; with --model that inspects at once.")
    parser.add_argument("name")
    parser.add_argument("--model", help="bundle that `patchebm export` wrote")
    parser.add_argument("--title", default="", help="what pages show")
    parser.add_argument("--roi", help=f"region of interest, {_ROI}; default: the whole image")
    values = parser.parse(argv)
    roi = None if values.roi is None else _roi(values.roi)

    from patchebm.station.roles import COMMAND_LINE
    from patchebm.station.setup import add_product

    with _open(values.dir) as (station, _):
        sentence = add_product(station, COMMAND_LINE, values.name, values.title, values.model, roi)
    print(sentence)


def _change_product(argv: Sequence[str]) -> None:
    parser = _parser("product change", "Change what a product is called, or which part of its images counts.")
    parser.add_argument("name")
    parser.add_argument("--title", help="what pages show")
    parser.add_argument("--roi", help=f"region of interest, {_ROI}, or none for the whole image")
    values = parser.parse(argv)
    if values.title is None and values.roi is None:
        raise ConfigError("nothing is to be changed; give --title or --roi")
    roi = None if values.roi is None else {} if values.roi == "none" else _roi(values.roi)

    from patchebm.station.roles import COMMAND_LINE
    from patchebm.station.services import products

    with _open(values.dir) as (station, _), station.session(write=True) as session:
        product = products.change(session, COMMAND_LINE, values.name, title=values.title, roi=roi)
        facts = product.roi
    region = "the whole image" if facts is None else ",".join(str(facts[key]) for key in _ROI_KEYS)
    print(f"product: {product.name} ({product.title}), region of interest: {region}")


def _roi(text: str) -> dict[str, int]:
    """Returns a region of interest. Raises ConfigError if the text is none."""
    words = text.split(",")
    if len(words) != len(_ROI_KEYS) or not all(word.strip().isdecimal() for word in words):
        raise ConfigError(f"--roi '{text:.40}' is no region of interest; give {_ROI}, such as 40,20,640,480")
    return dict(zip(_ROI_KEYS, map(int, words), strict=True))


def _serve(argv: Sequence[str]) -> None:
    parser = _parser("serve", "Inspect parts, and show pages in a browser, until Ctrl-C or SIGTERM.")
    _add_address(parser)
    parser.add_argument("--tls-cert", type=Path, help="certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, help="its private key, PEM")
    parser.add_argument("--log", default="plain", help="plain, or json: one object a line")
    values = parser.parse(argv)
    if values.log not in ("plain", "json"):
        raise ConfigError(f"--log is '{values.log}'; it must be plain or json")

    from patchebm.station.logs import set_up
    from patchebm.station.serve import serve
    from patchebm.station.setup import open_settings

    set_up(values.log)
    settings = open_settings(Path(values.dir))
    serve(
        settings,
        values.host,
        values.port,
        tls_cert=values.tls_cert,
        tls_key=values.tls_key,
        listening=lambda address: print(f"station: {address} (Ctrl-C stops)", flush=True),
    )


def _backup(argv: Sequence[str]) -> None:
    parser = _parser("backup", "Copy a station to one file, also while it runs.")
    parser.add_argument("file", type=Path, help="file to write")
    parser.add_argument("--images", action="store_true", help="with images and maps: most of the bytes")
    values = parser.parse(argv)

    from patchebm.station.backup import backup
    from patchebm.station.settings import read_settings

    size = backup(read_settings(values.dir), values.file, images=values.images)
    print(f"backup: {values.file} ({size / 1e6:.1f} MB)")


def _restore(argv: Sequence[str]) -> None:
    parser = Parser(prog="patchebm station restore", description="Make a station from a backup.")
    parser.add_argument("file", type=Path, help="file that `patchebm station backup` wrote")
    parser.add_argument("dir", type=Path, help="new folder")
    values = parser.parse(argv)

    from patchebm.station.backup import restore
    from patchebm.station.setup import open_settings

    restore(values.file, values.dir)
    print(f"station: {open_settings(values.dir).folder}")


def _demo(argv: Sequence[str]) -> None:
    parser = Parser(prog="patchebm station demo", description="Show a line with synthetic products.")
    parser.add_argument(
        "--dir", type=Path, help="folder of the station; default: one that is deleted afterwards"
    )
    _add_address(parser)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two parts")
    parser.add_argument(
        "--line", action="store_true", help="with a simulated PLC, which triggers the camera by Modbus TCP"
    )
    values = parser.parse(argv)

    from patchebm.station.demo import run_demo

    run_demo(values.dir, values.host, values.port, values.every, line=values.line)


def _io_test(argv: Sequence[str]) -> None:
    values = _parser("io-test", "Try each camera and output, and say what is wrong.").parse(argv)

    from patchebm.station.io_test import io_test
    from patchebm.station.serve import locked

    with _open(values.dir) as (station, settings), ExitStack() as stack:
        try:
            # The station cannot be started meanwhile, either.
            stack.enter_context(locked(settings))
            serves = False
        except DataError:
            serves = True
            print("the station runs; stop it to try its cameras and its outputs to a PLC", flush=True)
        found = []
        for tried in io_test(station, serves=serves):
            print(f"{tried.name}: {tried.said}", flush=True)
            found.append(tried)
    if not found:
        print("the station has neither sources nor outputs that are turned on")
    if failed := sum(not tried.works for tried in found):
        raise PatchebmError(f"{failed} of {len(found)} do not work; the lines above say why")


def _plc_sim(argv: Sequence[str]) -> None:
    parser = Parser(
        prog="patchebm station plc-sim",
        description="Be the PLC at the other end of an output: trigger parts, and take their results.",
    )
    parser.add_argument("kind", help="of the output: modbus-server, modbus-client, s7 or opcua")
    parser.add_argument("--host", default="127.0.0.1", help="of the station, where it is the server")
    parser.add_argument("--port", type=int, required=True, help="of the station, or of the simulated PLC")
    parser.add_argument("--user", help="of the station, for opcua")
    parser.add_argument("--password-file", help="file whose first line is the password; - is standard input")
    parser.add_argument("--parts", type=int, default=10, help="parts to trigger; 0 goes on until Ctrl-C")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two parts")
    parser.add_argument("--product", type=int, default=0, help="number of the product; 0 leaves it as it is")
    values = parser.parse(argv)
    if values.kind == "opcua" and not (values.user and values.password_file):
        raise ConfigError("opcua needs --user and --password-file of a user of the station")
    password = _first_line(values.password_file) if values.password_file else ""

    from patchebm.station.plc.rehearsal import rehearse

    rehearse(
        values.kind,
        values.host,
        values.port,
        user=values.user or "",
        password=password,
        parts=values.parts,
        every=values.every,
        product=values.product,
    )


def _open(folder: str) -> AbstractContextManager[tuple[Station, Settings]]:
    from patchebm.station.setup import opened

    return opened(Path(folder))


def _parser(command: str, description: str) -> Parser:
    parser = Parser(prog=f"patchebm station {command}", description=description)
    parser.add_argument("dir", help="folder of the station")
    return parser


def _add_address(parser: Parser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is every one of this machine"
    )
    parser.add_argument("--port", type=int, default=8080, help="port to listen on")


def _first_line(file: str) -> str:
    """Returns the password in a file. Raises ConfigError if there is none."""
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--password-file {file} cannot be read ({error}); check the path") from error
    lines = text.splitlines()
    if not lines or not lines[0]:
        raise ConfigError(f"--password-file {file} is empty; put the password into its first line")
    return lines[0]


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "init": _init,
    "user add": _user,
    "token add": _token,
    "product add": _product,
    "product change": _change_product,
    "serve": _serve,
    "backup": _backup,
    "restore": _restore,
    "io-test": _io_test,
    "plc-sim": _plc_sim,
    "demo": _demo,
}
