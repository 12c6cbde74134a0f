"""The files for systemd and containers: what they run is run here, with folders of the test's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.station.running import free_port, running, wait_for

DOCS = Path(__file__).resolve().parents[2] / "docs" / "station"
UNIT = (DOCS / "patchebm-station.service").read_text(encoding="utf-8")
CONTAINER = (DOCS / "Containerfile").read_text(encoding="utf-8")

pytestmark = pytest.mark.station


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    file = tmp_path / "patchebm-station.service"
    file.write_text(UNIT.replace("/opt/patchebm/bin/patchebm", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def commands() -> dict[str, list[str]]:
    unit, container = re.search(r"^ExecStart=(.+)$", UNIT, re.M), re.search(r"^CMD (.+)$", CONTAINER, re.M)
    assert unit
    assert container
    return {"unit": shlex.split(unit[1]), "container": json.loads(container[1])}


@pytest.mark.parametrize("kind", ["unit", "container"])
def test_its_command_serves_and_ends_gracefully(kind: str, bundle_file: Path, tmp_path: Path) -> None:
    folder, bin_folder, port = tmp_path / "station", tmp_path / "bin", free_port()
    if kind == "unit":
        with running(folder, bundle_file):
            pass
    bin_folder.mkdir()
    program = bin_folder / "patchebm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m patchebm.cli.main "$@"\n')
    program.chmod(0o755)
    command = [
        word.replace("/opt/patchebm/bin/patchebm", str(program)).replace("/srv/station", str(folder))
        for word in commands()[kind]
    ]
    if kind == "unit":
        command += ["--port", str(port)]
    else:
        command[-1] += f" --port {port}"
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def healthy() -> bool:
        assert process.poll() is None, process.communicate()[1][-2000:]
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(healthy, 60)
        # What systemd and containers send.
        process.send_signal(signal.SIGTERM)
        _, logged = process.communicate(timeout=60)
    finally:
        process.kill()
    # systemd and containers take the end by this very signal for a proper one.
    assert process.returncode in (0, -signal.SIGTERM)
    last = json.loads(logged.decode().strip().splitlines()[-1])
    assert "Finished" in last["message"]
