"""Archives and results on S3: moto's server on loopback, which answers late, not at all, or refuses."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

for package in ("pyarrow", "s3fs", "moto", "flask", "flask_cors"):
    pytest.importorskip(package, reason="the extra `scale`, or moto, is not installed")

import fsspec  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

from patchebm.cli.main import main  # noqa: E402
from patchebm.loading import load  # noqa: E402
from patchebm.scale.storage import StorageError, attempt  # noqa: E402
from tests.failing import failure  # noqa: E402

Fault = Callable[[str, str, int], str | None]
"""Of method, path and the number of the request: the status that is answered instead, or None."""


class FaultyServer:
    """S3 by moto behind a fault."""

    def __init__(self) -> None:
        self.fault: Fault = lambda method, path, number: None
        self.requests: list[tuple[str, str]] = []
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environment["REQUEST_METHOD"], environment["PATH_INFO"]
        self.requests.append((method, path))
        status = self.fault(method, path, len(self.requests))
        if status is None:
            return self._app(environment, start)
        start(status, [("Content-Type", "application/xml")])
        code = "AccessDenied" if status.startswith("403") else "ServiceUnavailable"
        return [] if method == "HEAD" else [f"<Error><Code>{code}</Code></Error>".encode()]

    def stop(self) -> None:
        """Moto's buckets belong to the process: the next server would have them, too."""
        self.fault = lambda method, path, number: None
        urlopen(Request(f"{self.url}/moto-api/reset", method="POST")).close()
        self._server.shutdown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    running = FaultyServer()
    for name, value in {
        "AWS_ENDPOINT_URL": running.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        # botocore asks five times itself; here our own asking again is what counts.
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield running
    running.stop()


@pytest.fixture
def archive(server: FaultyServer, images: list[Path]) -> list[str]:
    """The URIs of 24 images in a bucket beside an empty one for results."""
    system = fsspec.filesystem("s3")
    system.mkdir("images")
    system.mkdir("results")
    uris = []
    for i in range(24):
        system.pipe_file(f"images/day/{i:02d}.png", images[i % len(images)].read_bytes())
        uris.append(f"s3://images/day/{i:02d}.png")
    system.pipe_file("images/day/notes.txt", b"no image")
    return uris


def rows() -> list[dict[str, Any]]:
    system = fsspec.filesystem("s3")
    system.invalidate_cache()
    parts = sorted(system.ls("results/run/parts", detail=False))
    return [row for part in parts for row in pq.read_table(io.BytesIO(system.cat_file(part))).to_pylist()]


def command(bundle: Path | str, source: str = "s3://images/day", out: str = "s3://results/run") -> list[str]:
    return ["score", source, "--model", str(bundle), "--out", out, "--workers", "1"]


def test_a_fleet_in_a_bucket(server: FaultyServer, images: list[Path], bundle_file: Path) -> None:
    system = fsspec.filesystem("s3")
    for bucket in ("plant", "results"):
        system.mkdir(bucket)
    for i, product in enumerate(("a", "a", "b")):
        system.pipe_file(f"plant/images/{product}/day/{i}.png", images[i].read_bytes())
    system.pipe_file("plant/images/no product.png", images[0].read_bytes())
    system.pipe_file("plant/models/a/part.patchebm", bundle_file.read_bytes())
    system.pipe_file("plant/models/b.patchebm", bundle_file.read_bytes())
    places = ["s3://plant/images", "--models", "s3://plant/models", "--out", "s3://results/run"]
    assert main(["fleet", "score", *places, "--workers", "1"]) == 0
    system.invalidate_cache()
    table = pq.read_table(io.BytesIO(system.cat_file("results/run/fleet.parquet")))
    assert table.select(["product", "images", "error"]).to_pylist() == [
        {"product": "a", "images": 2, "error": None},
        {"product": "b", "images": 1, "error": None},
    ]
    part = pq.read_table(io.BytesIO(system.cat_file("results/run/b/parts/part-000000.parquet")))
    assert part.column("image").to_pylist() == ["s3://plant/images/b/day/2.png"]
    assert part.column("score").to_pylist() == [load(bundle_file, threads=1).score(images[2])[0]]


def test_slow_and_failing_answers_change_nothing(
    server: FaultyServer, archive: list[str], bundle_file: Path, images: list[Path]
) -> None:
    fsspec.filesystem("s3").pipe_file("images/part.patchebm", bundle_file.read_bytes())
    asked: set[tuple[str, str]] = set()

    def fault(method: str, path: str, number: int) -> str | None:
        """Every seventh answer comes late, and whatever is asked for is refused the first time."""
        if number % 7 == 0:
            time.sleep(0.2)
        known = (method, path) in asked
        asked.add((method, path))
        return None if known else "503 Slow Down"

    server.fault = fault
    assert main([*command("s3://images/part.patchebm"), "--maps", "--false-alarm-rate", "0.9"]) == 0
    server.fault = lambda method, path, number: None
    assert len(asked) > 50
    found = rows()
    assert [row["image"] for row in found] == archive
    model = load(bundle_file, threads=1)
    expected = [model.score(images[i % len(images)])[0] for i in range(24)]
    assert [row["score"] for row in found] == expected
    system = fsspec.filesystem("s3")
    assert {row["map"] for row in found if row["anomalous"]} == {
        f"maps/{Path(name).name}" for name in system.ls("results/run/maps", detail=False)
    }
    assert json.loads(system.cat_file("results/run/summary.json"))["errors"] == 0


def test_a_store_that_goes_away_keeps_what_was_scored(
    server: FaultyServer, archive: list[str], bundle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fault = lambda method, path, number: "503 Slow Down" if path.endswith("/20.png") else None
    sentence = failure(capsys, *command(bundle_file))
    assert "s3://images/day/20.png cannot be reached (" in sentence
    server.fault = lambda method, path, number: None
    kept = rows()
    assert 0 < len(kept) < 24
    assert main(command(bundle_file)) == 0
    assert f"{24 - len(kept)} of 24 images are left to score" in capsys.readouterr().err
    assert [row["index"] for row in rows()] == list(range(24))
    assert all(row["error"] is None for row in rows())


def test_one_image_without_rights_or_gone_is_a_row(
    server: FaultyServer, archive: list[str], bundle_file: Path, tmp_path: Path
) -> None:
    server.fault = lambda method, path, number: "403 Forbidden" if path.endswith("/03.png") else None
    manifest = "\n".join(["uri", *archive[:6], "s3://images/day/gone.png"])
    fsspec.filesystem("s3").pipe_file("images/list.csv", manifest.encode())
    assert main(command(bundle_file, "s3://images/list.csv")) == 0
    errors = {row["image"]: row["error"] for row in rows() if row["error"]}
    assert errors == {
        archive[3]: f"{archive[3]} may not be read or written with these credentials; check them and its "
        "permissions",
        "s3://images/day/gone.png": "s3://images/day/gone.png does not exist; check the URI",
    }


@pytest.mark.parametrize(
    ("denied", "source", "out"),
    [
        ("/images", "s3://images/day", "s3://results/run"),
        ("/results", "s3://images/day", "s3://results/run"),
        ("/images/day", "s3://images/list.csv", "s3://results/run"),
    ],
)
def test_no_rights_at_all_is_one_sentence(
    denied: str,
    source: str,
    out: str,
    server: FaultyServer,
    archive: list[str],
    bundle_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fsspec.filesystem("s3").pipe_file("images/list.csv", "\n".join(["uri", *archive]).encode())
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.fault = lambda method, path, number: "403 Forbidden" if path.startswith(denied) else None
    sentence = failure(capsys, *command(bundle_file, source, out))
    assert f"s3:/{denied}" in sentence
    assert "may not be read or written with these credentials; check them" in sentence


def test_a_bucket_that_is_not_there_is_one_sentence(
    server: FaultyServer, archive: list[str], bundle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "s3://nowhere holds no " in failure(capsys, *command(bundle_file, "s3://nowhere"))
    assert "s3://images/no.csv does not exist" in failure(capsys, *command(bundle_file, "s3://images/no.csv"))
    sentence = failure(capsys, *command(bundle_file, out="s3://nowhere/run"))
    assert "s3://nowhere/run/run.json cannot be written: there is no such bucket" in sentence
    sentence = failure(capsys, *command("s3://images/no.patchebm"))
    assert "s3://images/no.patchebm does not exist; check the URI" in sentence


def test_it_is_asked_again_and_then_given_up() -> None:
    asked = []

    def work(failures: int) -> int:
        asked.append(failures)
        if len(asked) <= failures:
            raise OSError("slow down")
        return len(asked)

    assert attempt("s3://b/k", lambda: work(2), (0.0, 0.0)) == 3
    asked.clear()
    with pytest.raises(StorageError, match=r"s3://b/k cannot be reached \(slow down\)"):
        attempt("s3://b/k", lambda: work(3), (0.0, 0.0))
    assert len(asked) == 3
