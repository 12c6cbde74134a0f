"""Ctrl-C for processes that tests start."""

from __future__ import annotations

import signal


def heed_ctrl_c() -> None:
    """As `preexec_fn`: let SIGINT reach the process.

    What a shell starts in the background, as CI may start the tests, ignores it, and so do its children.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
