"""A stream that only the caller writes to."""

from __future__ import annotations

import os
from typing import TextIO


def own_output() -> TextIO:
    """Returns this process's standard output; whatever else is printed from now on goes to standard error.

    By file descriptors: libraries, and what they are compiled from, hold the stream that they found.
    """
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return own
