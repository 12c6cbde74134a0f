"""This module shows a line: a station with a synthetic product, and a camera that sends defects, too."""

from __future__ import annotations

import logging
import random
import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchebm.errors import ConfigError, PatchebmError
from patchebm.station.demo_line import DemoPlc, add_line
from patchebm.station.demo_part import PRODUCT, line_images, train_model
from patchebm.station.logs import set_up
from patchebm.station.roles import COMMAND_LINE
from patchebm.station.serve import listen, serve
from patchebm.station.services import models, products, users
from patchebm.station.settings import Settings
from patchebm.station.setup import make_station, open_settings
from patchebm.station.station import Station
from patchebm.station.web.app import Beside

_log = logging.getLogger(__name__)

USER = "demo"
# Share of parts that have a defect.
DEFECTIVE = 0.1


def run_demo(folder: Path | None, host: str, port: int, every: float, *, line: bool = False) -> None:
    """Makes a station, unless there is one, and serves it with a simulated camera.

    Args:
        folder: of the station; None for one that is deleted afterwards.
        host: address to listen on.
        port: the same; 0 takes a free one.
        every: seconds between two parts.
        line: whether a simulated PLC triggers the camera, and takes the results, by Modbus TCP.

    Raises:
        ConfigError: `every` cannot be, or the address is taken.
        DataError: the folder holds something else.
    """
    if not 0.01 <= every <= 3600:
        raise ConfigError(f"--every is {every:g}; give seconds, such as 1")
    # Before a model is trained for a station that could not be served.
    listen(host, port).close()
    set_up("plain")
    with _folder(folder) as place:
        # A new one at each start: the password is shown, and not stored.
        password = secrets.token_urlsafe(9)
        settings = _prepared(place, password)
        plc_port = add_line(settings) if line else 0

        def show(address: str) -> None:
            print(f"station: {address}")
            print(f"sign in as {USER} with the password {password} (Ctrl-C stops)", flush=True)
            if line:
                print(f"PLC: connected by Modbus TCP to 127.0.0.1, port {plc_port}", flush=True)

        def beside(station: Station) -> Beside:
            return DemoPlc(plc_port, every) if line else Camera(station, every)

        serve(settings, host, port, listening=show, beside=beside)


class Camera:
    """This class sends an image now and then, as a camera would; it stops with the station.

    Args:
        station: gets the images.
        every: seconds between two.
    """

    def __init__(self, station: Station, every: float) -> None:
        self._station = station
        self._every = every
        self._stop = threading.Event()
        self._good, self._defective = line_images()
        self._random = random.Random(0)
        self._thread = threading.Thread(target=self._run, name="demo-camera", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._every):
            number += 1
            defective = self._random.random() < DEFECTIVE
            image = self._random.choice(self._defective if defective else self._good)
            try:
                self._station.inspector.receive(
                    PRODUCT, "demo camera", image, part=f"F-{number:05d}", wait=True
                )
            except PatchebmError as error:
                _log.warning("demo camera: %s", error)


def _prepared(folder: Path, password: str) -> Settings:
    """Returns the settings of the demo's station, which is made if there is none."""
    is_new = not folder.exists() or not any(folder.iterdir())
    if is_new:
        # First, so that nothing is left behind where it cannot be made.
        print("training a model of drawn parts, which takes about a minute", flush=True)
        with tempfile.TemporaryDirectory(prefix="patchebm-demo-") as temporary:
            content = train_model(Path(temporary)).read_bytes()
    settings = make_station(folder, None) if is_new else open_settings(folder)
    station = Station(settings)
    hashed = users.hash_password(password)
    try:
        with station.session(write=True) as session:
            if is_new:
                users.add_hashed(session, COMMAND_LINE, USER, hashed, "admin")
                products.add(session, COMMAND_LINE, PRODUCT, title="Flange")
                added = models.add(session, COMMAND_LINE, station.storage, PRODUCT, content, note="demo")
                models.activate(session, COMMAND_LINE, PRODUCT, added.number)
            else:
                users.change(session, COMMAND_LINE, USER, hashed=hashed)
    finally:
        station.engine.dispose()
    return settings


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="patchebm-station-") as temporary:
        yield Path(temporary)
