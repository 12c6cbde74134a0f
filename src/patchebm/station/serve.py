"""This module serves a station until it is told to stop."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from patchebm.errors import ConfigError, DataError, PatchebmError
from patchebm.station.settings import Settings
from patchebm.station.station import Station
from patchebm.station.web.app import Beside, create_app

LOCK = "station.lock"
# Seconds that a stop waits for requests in hand.
PATIENCE = 20


class Server(uvicorn.Server):
    """This class is uvicorn's server, which ends the streams of pages that are open before it waits for them.

    Args:
        config: of uvicorn.
        app: made by `create_app`.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops."""
        self._app.state.station.live.close()
        await super().shutdown(sockets)


def serve(
    settings: Settings,
    host: str,
    port: int,
    *,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    listening: Callable[[str], None],
    beside: Callable[[Station], Beside] | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM: then requests in hand are answered and parts that wait are inspected.

    Args:
        settings: of the station; its database has the newest schema.
        host: address to listen on.
        port: the same; 0 takes a free one.
        tls_cert: certificate chain, PEM.
        tls_key: its private key, PEM.
        listening: gets the address that browsers open.
        beside: starts what works beside the station, and ends with it.

    Raises:
        ConfigError: the address is taken, or the certificate cannot be used.
        DataError: another process serves this station.
    """
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("--tls-cert and --tls-key go together; give both")
    for option, path in (("--tls-cert", tls_cert), ("--tls-key", tls_key)):
        if path is not None and not os.access(path, os.R_OK):
            raise ConfigError(f"{option} {path} cannot be read; check the path and its permissions")
    with locked(settings):
        _serve(settings, listen(host, port), tls_cert, tls_key, listening, beside)


def _serve(
    settings: Settings,
    listener: socket.socket,
    tls_cert: Path | None,
    tls_key: Path | None,
    listening: Callable[[str], None],
    beside: Callable[[Station], Beside] | None,
) -> None:
    app = create_app(settings, beside=beside)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # A header of whoever asks would else say where a request comes from.
        proxy_headers=False,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        timeout_graceful_shutdown=PATIENCE,
        timeout_keep_alive=30,
        limit_concurrency=1000,
    )
    listening(_address(listener, tls=tls_cert is not None))
    server = Server(config, app)
    asyncio.run(server.serve([listener]))
    if not server.started:
        raise PatchebmError("the station could not be started; the lines above say why")


def _address(listener: socket.socket, *, tls: bool) -> str:
    """Returns the address that browsers open."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to an address. Raises ConfigError if the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named: else each answer would wait 40 ms for the
    # receiver's delayed acknowledgement of its headers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror}; choose another --host or --port"
        ) from error
    return listener


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Locks a station for this process. The kernel lets the lock go with the process, however that ends.

    Args:
        settings: of the station.

    Raises:
        PatchebmError: the folder cannot be written.
        DataError: another process serves this station.
    """
    path = settings.folder / LOCK
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise PatchebmError(f"cannot write {path}: {error.strerror}; check its permissions") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(file, 20).decode(errors="replace").strip()
        os.close(file)
        raise DataError(f"process {holder} serves {settings.folder} already; stop it first") from error
    # Only for that message: a full disk is no reason not to start.
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
    try:
        yield
    finally:
        os.close(file)
