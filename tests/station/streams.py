"""Real streams on loopback: ffmpeg over HTTP, GStreamer over RTSP."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import pytest

from tests.station.running import free_port

# The pictures move, so that no two are the same.
MOVING = "testsrc2=size=96x64:rate=25"
STILL = "color=gray:size=96x64:rate=25"
BLACK = "color=black:size=96x64:rate=25"


class Stream:
    """A stream in a process of its own, which a test kills and starts again."""

    def __init__(self, command: list[str], url: str, port: int) -> None:
        self._command, self.url, self._port = command, url, port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # No connection is tried to see it: ffmpeg serves one client, and ends after it.
        deadline = time.monotonic() + 20
        wanted = f":{self._port:04X} 00000000:0000 0A"
        while wanted not in Path("/proc/net/tcp").read_text():
            assert self._process.poll() is None, "the stream did not start"
            assert time.monotonic() < deadline, "the stream does not listen"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Lets the connection stand, without any frame."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> Stream:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def http_stream(picture: str | Path = MOVING, *, lossless: bool = False) -> Stream:
    """MJPEG over HTTP, or bare pixels where a test compares them, of an image file or what ffmpeg draws."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg (apt-get install ffmpeg)")
    port = free_port()
    url = f"http://127.0.0.1:{port}/camera"
    drawn = ["-f", "lavfi"] if isinstance(picture, str) else ["-loop", "1", "-framerate", "25"]
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-re", *drawn, "-i", str(picture)]
    form = (
        ["-c:v", "rawvideo", "-pix_fmt", "bgr24", "-f", "nut"]
        if lossless
        else ["-c:v", "mjpeg", "-q:v", "3", "-f", "mpjpeg"]
    )
    return Stream([*command, *form, "-listen", "1", url], url, port)


_RTSP = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1"); server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=96,height=64,framerate=25/1 "
    "! jpegenc ! rtpjpegpay name=pay0 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
GLib.MainLoop().run()
"""


def system_python() -> str:
    """Debian's own Python, which has python3-gi."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


def rtsp_stream() -> Stream:
    check = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; "
        "from gi.repository import GstRtspServer; Gst.init(None); "
        "assert all(map(Gst.ElementFactory.find, ('videotestsrc', 'jpegenc', 'rtpjpegpay')))"
    )
    if subprocess.run([system_python(), "-c", check], capture_output=True, check=False).returncode:
        needed = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good"
        pytest.skip(f"no RTSP server (apt-get install {needed})")
    port = free_port()
    return Stream([system_python(), "-c", _RTSP, str(port)], f"rtsp://127.0.0.1:{port}/camera", port)


_FAKE = """
import sys, time, gi
gi.require_version("Aravis", "0.8")
from gi.repository import Aravis
camera = Aravis.GvFakeCamera.new("127.0.0.1", "GV01")
assert camera.is_running()
print("ready", flush=True)
time.sleep(600)
"""


class FakeCamera:
    """Aravis' fake GigE Vision camera, which answers on loopback as a real one does."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _FAKE], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
