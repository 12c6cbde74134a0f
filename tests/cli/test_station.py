"""`patchebm station`, as a user types it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patchebm.cli.main import main
from tests.failing import failure

httpx = pytest.importorskip("httpx", reason="httpx is not installed (extra dev)")
for _package in ("fastapi", "uvicorn", "sqlalchemy", "argon2"):
    pytest.importorskip(_package, reason="the extra station is not installed")


def test_from_nothing_to_a_verdict_and_a_graceful_stop(
    bundle_file: Path, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "station")
    password = tmp_path / "password.txt"
    password.write_text("correct horse battery\n")
    assert main(["station", "init", folder]) == 0
    user = ["station", "user", "add", folder, "anna", "--role", "admin", "--password-file", str(password)]
    assert main(user) == 0
    assert main(["station", "product", "add", folder, "flange", "--model", str(bundle_file)]) == 0
    capsys.readouterr()
    assert main(["station", "token", "add", folder, "cam", "--role", "line"]) == 0
    token = capsys.readouterr().out.strip()
    # The token alone, for `> file`.
    assert token.startswith("patchebm_")
    assert "\n" not in token
    assert failure(capsys, *user).endswith("choose another name")
    command = [sys.executable, "-m", "patchebm.cli.main", "station", "serve", folder, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        assert url.startswith("http://127.0.0.1:")
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = httpx.post(
                    f"{url}/api/v1/products/flange/inspections",
                    content=images[0].read_bytes(),
                    headers={"Authorization": f"Bearer {token}"},
                )
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert answer.status_code == 201
        assert main(["station", "backup", folder, str(tmp_path / "copy.tar")]) == 0
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert "Application shutdown complete" in said
    for path in [tmp_path / "station", *(tmp_path / "station").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "no command 'frobnicate'"),
        (["serv"], "did you mean 'serve'"),
        (["user", "ad"], "did you mean 'user add'"),
        (["serve", "nowhere"], "patchebm station init"),
        (["init", ".", "--database", "mysql://x/y"], "PostgreSQL"),
        (["demo", "--every", "0"], "--every"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    try:
        assert words in failure(capsys, "station", *arguments)
    finally:
        os.umask(umask)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_cannot_draw_its_parts_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "patchebm_products", None)
    assert "./products" in failure(capsys, "station", "demo", "--dir", str(tmp_path / "demo"), "--port", "0")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "patchebm.station.serve", raising=False)
    assert "patchebm[station]" in failure(capsys, "station", "serve", "x")
