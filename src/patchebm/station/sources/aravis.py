"""This module is a camera by GigE Vision or USB3 Vision, read by Aravis (of the system, with PyGObject)."""

from __future__ import annotations

import time
from typing import Any

from patchebm.errors import ConfigError, PatchebmError
from patchebm.station.sources.base import Context
from patchebm.station.sources.camera import CameraSource
from patchebm.station.sources.frames import CameraLost, Frame, FrameBroken
from patchebm.station.sources.options import Options
from patchebm.station.sources.pixel_formats import frame_of, require_known

# Seconds between two looks at whether the source is to end.
_PATIENCE = 0.05
_BUFFERS = 8
_REGION = ("x", "y", "width", "height")


class AravisCamera:
    """This class is a camera that Aravis finds.

    Args:
        options: `camera`, its address or id, else the first that is found; `exposure` in microseconds; `gain`
            in the camera's unit, often dB; `pixel_format`, such as Mono8, Mono12 or BayerRG8; `region`, with
            x, y, width and height in pixels; `trigger_source`: empty where the camera runs by itself,
            Software where the station's trigger releases it, or one of its lines, such as Line1; `fps`;
            `timeout`, the seconds after which it counts as away. What is left out stays as it is.

    Raises:
        ConfigError: a setting cannot be, or Aravis is not installed.
    """

    def __init__(self, options: Options) -> None:
        self._id = options.word("camera", "")
        self._exposure = options.maybe("exposure", 0)
        self._gain = options.maybe("gain", -1000)
        self._fps = options.maybe("fps", 0.01)
        self._wanted = options.word("pixel_format", "")
        self._format = ""
        self._trigger = options.word("trigger_source", "")
        self._timeout = options.number("timeout", 3, 0.2, 60)
        region = options.get("region")
        if region is not None:
            whole = isinstance(region, dict) and set(region) == set(_REGION)
            if not whole or not all(type(value) is int and value >= 0 for value in region.values()):
                raise ConfigError("region must be whole pixels: x, y, width and height")
        self._region: dict[str, int] | None = region
        if self._wanted:
            require_known(self._wanted)
        self._name = f"camera {self._id}" if self._id else "a GenICam camera"
        self._camera: Any = None
        self._stream: Any = None
        self._gone = False
        self._asked = 0.0
        _aravis()

    def open(self) -> None:
        """Connects, and sets the camera up. Raises CameraLost, and ConfigError for what it does not take."""
        aravis, glib = _aravis()
        self._gone = False
        try:
            self._camera = aravis.Camera.new(self._id or None)
        except glib.Error as error:
            raise CameraLost(f"{self._name} cannot be reached ({error.message})") from error
        try:
            self._camera.get_device().connect("control-lost", self._on_lost)
            self._set_up()
            self._stream = self._camera.create_stream(None, None)
            size = self._camera.get_payload()
            for _ in range(_BUFFERS):
                self._stream.push_buffer(aravis.Buffer.new_allocate(size))
            self._camera.start_acquisition()
        except glib.Error as error:
            self.close()
            raise CameraLost(f"{self._name} cannot be set up ({error.message})") from error
        except PatchebmError:
            self.close()
            raise
        self._asked = 0.0 if self._trigger else time.monotonic()

    def fire(self) -> None:
        """Has the camera take a frame, where its trigger source is Software. Raises CameraLost."""
        if self._trigger == "Software":
            self._call("software_trigger")
            self._asked = time.monotonic()

    def grab(self) -> Frame | None:
        """Returns the next frame; None if there is none yet.

        Raises:
            CameraLost: the camera is away.
            FrameBroken: a part of the frame was lost on the way.
        """
        aravis, _ = _aravis()
        buffer = self._stream.timeout_pop_buffer(int(1e6 * _PATIENCE))
        now = time.monotonic()
        if self._gone:
            raise CameraLost(f"{self._name} does not answer any more")
        if buffer is None:
            # One that waits for its trigger says nothing, and is there all the same.
            if self._trigger in ("", "Software") and self._asked and now - self._asked > self._timeout:
                raise CameraLost(f"{self._name} gives no picture any more")
            return None
        try:
            if buffer.get_status() != aravis.BufferStatus.SUCCESS:
                raise FrameBroken(
                    f"{self._name}: a part of the frame was lost on the network; check cable and switch"
                )
            self._asked = 0.0 if self._trigger else now
            content, width, height = buffer.get_data(), buffer.get_image_width(), buffer.get_image_height()
        finally:
            self._stream.push_buffer(buffer)
        try:
            return frame_of(content, self._format, width, height)
        except ValueError as error:
            raise FrameBroken(f"{self._name}: the frame is shorter than it says") from error

    def close(self) -> None:
        """Lets go of the camera."""
        if self._camera is not None and not self._gone:
            try:
                self._camera.stop_acquisition()
            except _aravis()[1].Error:
                # It is away already.
                self._gone = True
        self._stream = self._camera = None

    def _set_up(self) -> None:
        camera = self._camera
        self._call("clear_triggers")
        if self._region is not None:
            self._call("set_region", *(self._region[key] for key in _REGION))
        if self._wanted:
            self._call("set_pixel_format_from_string", self._wanted)
        self._format = camera.get_pixel_format_as_string()
        require_known(self._format)
        if self._exposure is not None:
            self._call("set_exposure_time", self._exposure)
        if self._gain is not None:
            self._call("set_gain", self._gain)
        if self._fps is not None:
            self._call("set_frame_rate", self._fps)
        if self._trigger:
            self._call("set_trigger", self._trigger)

    def _call(self, method: str, *values: Any) -> None:
        try:
            getattr(self._camera, method)(*values)
        except _aravis()[1].Error as error:
            what = " ".join([method.removeprefix("set_").replace("_", " "), *map(str, values)])
            raise CameraLost(f"{self._name} does not take {what} ({error.message})") from error

    def _on_lost(self, device: Any) -> None:
        self._gone = True


def open_source(context: Context, settings: dict[str, Any]) -> CameraSource:
    """Returns a source of the kind `aravis`. Raises ConfigError for a setting that cannot be."""
    options = Options("aravis", settings)
    return CameraSource(context, AravisCamera(options), options)


def _aravis() -> tuple[Any, Any]:
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis, GLib
    except (ImportError, ValueError) as error:
        raise ConfigError(
            "a GigE or USB3 Vision camera needs Aravis and PyGObject; apt-get install gir1.2-aravis-0.8 "
            "python3-gi, and see the documentation on cameras"
        ) from error
    return Aravis, GLib
