"""A station as its users have it: a real uvicorn on loopback, a real database, real files."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from PIL import Image

from patchebm.station.roles import COMMAND_LINE
from patchebm.station.serve import Server
from patchebm.station.services import tokens, users
from patchebm.station.settings import Settings
from patchebm.station.setup import add_product, make_station, open_settings
from patchebm.station.station import Station
from patchebm.station.web.app import create_app
from patchebm_products import draw

PASSWORD = "correct horse battery"
ROLES = ("line", "operator", "engineer", "admin")


def png(index: int = 0, defect: str = "good", split: str = "test/good") -> bytes:
    """A part of 64 x 64 pixels; each index is another part."""
    packed = io.BytesIO()
    pixels = draw("flange", seed=0, split=split, index=index, defect=defect, size=64)[0]
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


def noise_png(seed: int = 0) -> bytes:
    """Noise of 64 x 64 pixels: even a model of nine parts, trained for a second, calls it anomalous."""
    packed = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


@cache
def _hashed() -> str:
    """Hashing takes long, as it should."""
    return users.hash_password(PASSWORD)


class Running:
    """A station that serves, and what tests need to talk to it."""

    def __init__(self, settings: Settings, url: str, app: Any, secrets: dict[str, str]) -> None:
        self.settings = settings
        self.url = url
        self.app = app
        self.tokens = secrets

    @property
    def station(self) -> Station:
        station: Station = self.app.state.station
        return station

    def client(self, role: str | None = "admin", **settings: Any) -> httpx.Client:
        """A client with the token of a role; None for one without."""
        headers = {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}
        headers |= settings.pop("headers", {})
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **settings)

    def push(
        self, image: bytes, *, role: str = "line", part: str = "", key: str | None = None
    ) -> httpx.Response:
        headers = {"Content-Type": "image/png"} | ({} if key is None else {"Idempotency-Key": key})
        with self.client(role) as client:
            return client.post(
                "/api/v1/products/flange/inspections",
                params={"part": part},
                content=image,
                headers=headers,
            )


@contextmanager
def running(
    folder: Path, bundle: Path | None, database: str | None = None, **limits: Any
) -> Iterator[Running]:
    """A station of its own that serves; `limits` are fields of its settings."""
    if not (folder / "station.toml").exists():
        made = make_station(folder, database)
        Settings(**{**made.__dict__, **limits}).write()
        station = Station(open_settings(folder))
        secrets = {}
        with station.session(write=True) as session:
            for role in ROLES:
                secrets[role] = tokens.add(session, COMMAND_LINE, f"{role}-token", role)
            for role in ROLES[1:]:
                users.add_hashed(session, COMMAND_LINE, role, _hashed(), role)
        if bundle is not None:
            add_product(station, COMMAND_LINE, "flange", "Flange", str(bundle))
        station.engine.dispose()
        (folder / "tokens.txt").write_text("\n".join(secrets.values()))
    secrets = dict(zip(ROLES, (folder / "tokens.txt").read_text().splitlines(), strict=True))
    settings = open_settings(folder)
    app = create_app(settings)
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = Server(config, app)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), 30)
        assert server.started, "the station did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(settings, f"http://127.0.0.1:{port}", app, secrets)
    finally:
        server.should_exit = True
        thread.join(30)


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    """Waits until a condition holds; fails if it does not within some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


# Below the ports that connections to others get, which could take one while its server is away.
_PORTS = iter(range(20_000 + 97 * os.getpid() % 10_000, 32_000))


def free_port() -> int:
    """A port that is free now, for a process that is told which to take; each call gives another."""
    for port in _PORTS:
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
