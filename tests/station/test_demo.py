"""`patchebm station demo`, as a user runs it: it trains, shows a line, and ends by Ctrl-C."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from patchebm.station.database.history import Inspection
from patchebm.station.setup import opened

pytestmark = pytest.mark.station


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a demo that has run once, and its first two lines."""
    folder = tmp_path_factory.mktemp("station") / "demo"
    return folder, _run_until(folder, 60)


def test_a_port_that_is_taken_is_said_before_a_model_is_trained(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "patchebm.cli.main", "station", "demo", "--port", str(port)]
        command += ["--dir", str(tmp_path / "demo")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in done.stderr
    assert "training" not in done.stdout
    assert not (tmp_path / "demo").exists()


def test_it_trains_and_shows_a_line(trained: tuple[Path, list[str]]) -> None:
    folder, said = trained
    assert said[0].startswith("training a model")
    assert said[1].startswith("station: http://127.0.0.1:")
    with opened(folder) as (station, _), station.session() as session:
        parts = session.scalars(select(Inspection)).all()
    share = sum(part.anomalous for part in parts) / len(parts)
    # A tenth of the parts are defective, and a few of these may be missed.
    assert 0.02 < share < 0.3


def test_it_starts_again_without_training(trained: tuple[Path, list[str]]) -> None:
    folder, _ = trained
    assert _run_until(folder, _stored(folder) + 5)[0].startswith("station: ")


def test_a_plc_triggers_the_camera(trained: tuple[Path, list[str]]) -> None:
    pytest.importorskip("pymodbus", reason="pymodbus not installed (extra line)")
    folder, _ = trained
    before = _stored(folder)
    _run_until(folder, before + 5, "--line")
    with opened(folder) as (station, _), station.session() as session:
        parts = session.scalars(select(Inspection).order_by(Inspection.id)).all()[before:]
    assert [(part.source, part.part) for part in parts[:5]] == [("camera", str(i + 1)) for i in range(5)]


def _run_until(folder: Path, parts: int, *options: str) -> list[str]:
    """Runs the demo until so many parts are stored; returns its first two lines."""
    command = [sys.executable, "-m", "patchebm.cli.main", "station", "demo", "--dir", str(folder)]
    command += ["--port", "0", "--every", "0.05", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline(), process.stdout.readline()]
            deadline = time.monotonic() + 200
            while _stored(folder) < parts:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.2)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
    return lines


def _stored(folder: Path) -> int:
    with opened(folder) as (station, _), station.session() as session:
        return len(session.scalars(select(Inspection.id)).all())
