"""This module is a camera on USB, RTSP or HTTP, read by OpenCV (extra `camera`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from patchebm.errors import ConfigError
from patchebm.station.sources.base import Context
from patchebm.station.sources.camera import CameraSource
from patchebm.station.sources.frames import CameraLost, Frame
from patchebm.station.sources.options import HIDDEN, Options, without_secrets

if TYPE_CHECKING:
    import cv2

_ASKED = ("width", "height", "fps", "exposure", "gain")
SCHEMES = ("http://", "https://", "rtsp://", "rtsps://")


class OpenCVCamera:
    """This class is a camera that OpenCV reads.

    Args:
        options: `url`, an address that begins with http, https, rtsp or rtsps; or `device`, the number of a
            camera on USB. `timeout`, the seconds after which a `url` counts as away; OpenCV gives up a
            `device` after 10 seconds of its own. `width`, `height`, `fps`, `exposure`, `gain`: asked of a
            camera on USB, in the units of its driver.

    Raises:
        ConfigError: a setting cannot be, or OpenCV is not installed.
    """

    def __init__(self, options: Options) -> None:
        url = options.word("url", "")
        device = options.maybe("device", 0, 99)
        if bool(url) == (device is not None):
            raise ConfigError(
                "an opencv source needs either url, such as rtsp://host/stream, or device, such as 0"
            )
        # OpenCV would also open files and pictures by pattern, and other protocols of FFmpeg.
        if url and not url.startswith(SCHEMES):
            raise ConfigError(f"url must begin with {', '.join(SCHEMES)}")
        if HIDDEN in url:
            raise ConfigError(f"url has {HIDDEN} where its name and password were hidden; give it whole")
        self._url = url
        self._device = int(device or 0)
        self._timeout = options.number("timeout", 3, 0.2, 60)
        self._asked = {key: options.maybe(key, -1e6) for key in _ASKED}
        if url and any(value is not None for value in self._asked.values()):
            raise ConfigError(
                "width, height, fps, exposure and gain are for device; a url is set up elsewhere"
            )
        self._name = without_secrets({"url": url})["url"] if url else f"/dev/video{self._device}"
        self._capture: cv2.VideoCapture | None = None
        _opencv()

    def open(self) -> None:
        """Connects. Raises CameraLost."""
        cv2 = _opencv()
        milliseconds = int(1000 * self._timeout)
        capture = cv2.VideoCapture()
        try:
            if self._url:
                limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds]
                limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
                opened = capture.open(self._url, cv2.CAP_FFMPEG, limits)
            else:
                opened = capture.open(self._device, cv2.CAP_V4L2)
        except cv2.error as error:
            raise CameraLost(f"{self._name} cannot be opened ({error.err:.120})") from error
        if not opened:
            raise CameraLost(f"{self._name} cannot be reached; check the address, the cable and the power")
        if not self._url:
            self._set_up(cv2, capture)
        self._capture = capture

    def fire(self) -> None:
        """Does nothing: these cameras run by themselves."""

    def grab(self) -> Frame:
        """Returns the next frame. Raises CameraLost."""
        assert self._capture is not None
        worked, image = self._capture.read()
        pixels: Any = image
        if not worked:
            raise CameraLost(f"{self._name} gives no picture any more")
        if pixels.ndim == 3:
            pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else _red_first(pixels)
        return Frame(pixels, 255 if pixels.dtype.itemsize == 1 else 65535)

    def close(self) -> None:
        """Lets go of the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _set_up(self, cv2: Any, capture: cv2.VideoCapture) -> None:
        # The newest frame, not what waited meanwhile.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self._asked["exposure"] is not None:
            # 1 is manual in Video4Linux.
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, 1)
        names = {"width": "FRAME_WIDTH", "height": "FRAME_HEIGHT"}
        for key, value in self._asked.items():
            if value is not None and not capture.set(
                getattr(cv2, f"CAP_PROP_{names.get(key, key.upper())}"), value
            ):
                capture.release()
                raise CameraLost(f"{self._name} does not take {key} {value:g}; leave it out, or try another")


def open_source(context: Context, settings: dict[str, Any]) -> CameraSource:
    """Returns a source of the kind `opencv`. Raises ConfigError for a setting that cannot be."""
    options = Options("opencv", settings)
    return CameraSource(context, OpenCVCamera(options), options)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            "a camera on USB, RTSP or HTTP needs OpenCV; run pip install 'patchebm[camera]'"
        ) from error
    return cv2


def _red_first(pixels: Any) -> Any:
    cv2 = _opencv()
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
