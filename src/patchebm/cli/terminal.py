"""What verbs print: whatever names of files are made of, a terminal, a pipe or a log file can show it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable

from patchebm.images.listing import LeftOut, left_out_sentence


def escape_what_cannot_be_shown() -> None:
    """Lets standard output and error write what their encoding lacks with backslashes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Returns text on one line that moves no cursor: line ends and other unprintable characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def show(line: str) -> None:
    """Prints a line of results."""
    print(printable(line), flush=True)


def say(sentence: str) -> None:
    """Prints a sentence about the work, which is no result, to standard error."""
    print(printable(sentence), file=sys.stderr, flush=True)


def note(sentence: str) -> None:
    """Says what a user should know beside the results."""
    say(f"note: {sentence}")


def say_left_out(left_out: Iterable[LeftOut]) -> None:
    """Says what lies in the folders that were named and is not used, if anything."""
    sentence = left_out_sentence(left_out)
    if sentence is not None:
        say(sentence)
