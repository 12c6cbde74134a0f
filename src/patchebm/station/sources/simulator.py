"""This module simulates a camera: at each trigger it gives the next image of a folder, again and again.

An integrator rehearses with it before there is a camera.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError, ImageError
from patchebm.images.formats import has_image_suffix
from patchebm.station.arrival import Outcome
from patchebm.station.services import names
from patchebm.station.services.names import line
from patchebm.station.sources.base import Context
from patchebm.station.sources.camera import MOST
from patchebm.station.sources.keys import keyed_images

_KEYS = ("folder",)


class SimulatedCamera:
    """This class gives images of a folder, by name.

    Args:
        context: of the station.
        settings: `folder`, an absolute path.

    Raises:
        ConfigError: a setting is missing, unknown or cannot be.
    """

    def __init__(self, context: Context, settings: dict[str, Any]) -> None:
        for key in settings:
            if key not in _KEYS:
                raise ConfigError(f"a simulated camera has no setting '{key:.40}'{nearest(key, _KEYS)}")
        folder = settings.get("folder")
        if not isinstance(folder, str) or not Path(folder).is_absolute():
            raise ConfigError("a simulated camera needs folder, an absolute path")
        self._context = context
        self._folder = Path(folder)
        self._keyed = keyed_images(context)
        self._lock = threading.Lock()
        self._next = 0

    def run(self) -> None:
        """Waits until it is told to stop: it works when it is triggered."""
        self._context.stop.wait()

    @property
    def takes_triggers(self) -> bool:
        """Says so: nothing else makes it work."""
        return True

    def trigger(self, part: str = "", key: str | None = None) -> Future[Outcome]:
        """Hands the next image over; see `Triggered.trigger`."""
        part = line(part, "part", MOST)
        if key is None:
            return self._trigger(part, None)
        return self._keyed.once(names.key(key), (self._context.name, part), lambda: self._trigger(part, key))

    def _trigger(self, part: str, key: str | None) -> Future[Outcome]:
        with self._lock:
            files = self._files()
            file = files[self._next % len(files)]
            self._next += 1
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ImageError(f"{file} cannot be read ({error.strerror})") from error
        return self._context.receive(
            self._context.product, self._context.name, content, part=part, key=key, wait=False
        )

    def check(self) -> str | None:
        """Looks for images. Returns what is wrong as a sentence, or None."""
        try:
            self._files()
        except ImageError as error:
            return str(error)
        return None

    @property
    def state(self) -> str:
        """Returns one sentence on how it goes; "" if all is well."""
        return self.check() or ""

    def _files(self) -> list[Path]:
        try:
            found = sorted(path for path in self._folder.iterdir() if has_image_suffix(path))
        except OSError as error:
            raise ImageError(f"the folder {self._folder} cannot be read ({error.strerror})") from error
        if not found:
            raise ImageError(f"the folder {self._folder} holds no images")
        return found
