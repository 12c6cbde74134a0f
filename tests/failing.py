"""What a command says when it refuses."""

from __future__ import annotations

import pytest

from patchebm.cli.main import main


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence that a failing command prints."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("patchebm: error: ")]
    assert len(lines) == 1
    return lines[0]
