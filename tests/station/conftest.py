"""Stations that several tests share, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from tests.station.running import Running

NEEDED = ("fastapi", "uvicorn", "sqlalchemy", "argon2", "httpx")
MISSING = [name for name in NEEDED if find_spec(name) is None]


class Skipped(pytest.Module):
    """A file whose tests need what is not installed."""

    def collect(self) -> NoReturn:
        pytest.skip(f"{', '.join(MISSING)} not installed (extras station, which needs Python 3.11, and dev)")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return Skipped.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture(scope="module")
def served(bundle_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A station with a product; tests of a module share it."""
    from tests.station.running import running

    with running(tmp_path_factory.mktemp("station") / "station", bundle_file) as station:
        yield station


def _postgres_bin() -> Path | None:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    return None


class Postgres:
    """A private PostgreSQL on a socket in a temporary folder, which tests may kill."""

    def __init__(self, binaries: Path) -> None:
        self._control = str(binaries / "pg_ctl")
        self._as_user: list[str] = []
        if os.getuid() == 0:
            # PostgreSQL refuses to run as root.
            names = [entry.pw_name for entry in pwd.getpwall()]
            user = "postgres" if "postgres" in names else "nobody"
            ids = [f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}"]
            self._as_user = ["setpriv", *ids, "--clear-groups"]
        # Not pytest's own folder: other users may not enter that.
        self.folder = Path(tempfile.mkdtemp(prefix="patchebm-pg-"))
        self.folder.chmod(0o777)
        self._data = self.folder / "data"
        self._call(
            str(binaries / "initdb"), "-D", str(self._data), "-A", "trust", "-U", "station", "--no-sync"
        )

    def address(self, name: str) -> str:
        return f"postgresql://station@/{name}?host={self.folder}"

    def start(self) -> None:
        options = f"-k {self.folder} -h '' -c fsync=off"
        log = str(self.folder / "log")
        self._call(self._control, "-D", str(self._data), "-o", options, "-l", log, "-w", "start")

    def kill(self) -> None:
        """Stops it as a crash does: nothing is finished, and the log is replayed at the next start."""
        self._call(self._control, "-D", str(self._data), "-m", "immediate", "stop")

    def _call(self, *command: str) -> None:
        # Its output goes to a file: the server inherits it and would keep a pipe open.
        with (self.folder / "calls").open("w+") as output:
            done = subprocess.run(
                [*self._as_user, *command], stdout=output, stderr=output, cwd=self.folder, check=False
            )
            output.seek(0)
            if done.returncode:
                pytest.skip(f"PostgreSQL cannot be started here: {output.read()[-300:]}")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgres]:
    binaries = _postgres_bin()
    if binaries is None:
        pytest.skip("no PostgreSQL (apt-get install postgresql)")
    pytest.importorskip("psycopg")
    server = Postgres(binaries)
    server.start()
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)


_COUNT = iter(range(10**6))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.station)])
def database(request: pytest.FixtureRequest) -> str | None:
    """The address of an empty database: None is SQLite in the station's folder."""
    if request.param == "sqlite":
        return None
    import psycopg

    server: Postgres = request.getfixturevalue("postgresql")
    name = f"station_{os.getpid()}_{next(_COUNT)}"
    with psycopg.connect(server.address("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.address(name)


@pytest.fixture
def station(database: str | None, bundle_file: Path, tmp_path: Path) -> Iterator[Running]:
    """A station of the test's own, on each database."""
    from tests.station.running import running

    with running(tmp_path / "station", bundle_file, database) as found:
        yield found
