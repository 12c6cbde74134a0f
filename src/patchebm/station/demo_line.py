"""This module adds a simulated camera and a simulated PLC to the demo's station, connected by Modbus TCP."""

from __future__ import annotations

import logging
import random
import socket
import threading

from patchebm.errors import PatchebmError
from patchebm.station.demo_part import PRODUCT, line_images
from patchebm.station.plc.simulator import ModbusClientWire, PlcProgram
from patchebm.station.roles import COMMAND_LINE
from patchebm.station.services import outputs, sources
from patchebm.station.settings import Settings
from patchebm.station.station import Station

_log = logging.getLogger(__name__)

CAMERA, OUTPUT = "camera", "plc"
# Images that the camera gives, one after another; one in ten shows a defect.
IMAGES = 50
# Seconds that the PLC waits for a part.
PATIENCE = 5.0


def add_line(settings: Settings) -> int:
    """Adds camera and output to a station, unless they are there. Returns the port of Modbus TCP.

    Args:
        settings: of a station that nobody serves yet.
    """
    station = Station(settings)
    try:
        with station.session(write=True) as session:
            known = {row.name: row.settings for row in outputs.everything(session)}
            if OUTPUT in known:
                return int(known[OUTPUT]["port"])
            folder = settings.folder / "demo camera"
            folder.mkdir(exist_ok=True)
            good, defective = line_images()
            chooser = random.Random(0)
            for i in range(IMAGES):
                image = chooser.choice(defective if i % 10 == 6 else good)
                (folder / f"{i:02d}.jpg").write_bytes(image)
            place = {"folder": str(folder.resolve())}
            sources.add(session, COMMAND_LINE, station.session, CAMERA, PRODUCT, "simulator", place)
            port = free_port()
            wanted = {"port": port, "products": [PRODUCT]}
            outputs.add(session, COMMAND_LINE, OUTPUT, "modbus-server", wanted)
            return port
    finally:
        station.engine.dispose()


class DemoPlc:
    """This class is a PLC that triggers a part now and then; it stops with the station.

    Args:
        port: of the station's server of Modbus TCP.
        every: seconds between two parts.
    """

    def __init__(self, port: int, every: float) -> None:
        self._every = every
        self._stop = threading.Event()
        self._program = PlcProgram(lambda: ModbusClientWire("127.0.0.1", port))
        self._thread = threading.Thread(target=self._run, name="demo-plc", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                tags = self._program.part(seconds=PATIENCE)
            except PatchebmError as error:
                _log.warning("demo PLC: %s", error)
                continue
            if tags["error"]:
                _log.warning("demo PLC: part %d gave error %d", self._program.number, tags["error_code"])
            else:
                verdict = "OK" if tags["ok"] else "NG"
                _log.info("demo PLC: part %d is %s", self._program.number, verdict)
        self._program.close()


def free_port() -> int:
    """Returns a port of this machine that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
