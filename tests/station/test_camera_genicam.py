"""GigE Vision on loopback: Aravis against its own fake camera, which speaks GVCP and GVSP as real ones do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from patchebm.errors import ConfigError
from patchebm.station.sources.aravis import AravisCamera
from patchebm.station.sources.frames import CameraLost, Frame
from patchebm.station.sources.options import Options
from tests.station.running import Running, wait_for
from tests.station.streams import FakeCamera


@pytest.fixture(autouse=True)
def fake() -> Iterator[FakeCamera]:
    try:
        gi = pytest.importorskip("gi", reason="no PyGObject (see docs/station/cameras.md)")
        gi.require_version("Aravis", "0.8")
    except ValueError:
        pytest.skip("no Aravis (apt-get install gir1.2-aravis-0.8)")
    camera = FakeCamera()
    camera.start()
    yield camera
    camera.kill()


def grabbed(**settings: Any) -> Frame:
    camera = AravisCamera(Options("aravis", {"camera": "127.0.0.1", **settings}))
    camera.open()
    try:
        return next_frame(camera)
    finally:
        camera.close()


def next_frame(camera: AravisCamera, seconds: float = 10) -> Frame:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        frame = camera.grab()
        if frame is not None:
            return frame
    pytest.fail("no frame came")


def test_format_and_region_are_what_was_set() -> None:
    region = {"x": 8, "y": 4, "width": 64, "height": 32}
    grey = grabbed(pixel_format="Mono8", region=region)
    assert (grey.pixels.shape, grey.pixels.dtype, grey.white) == ((32, 64), np.uint8, 255)
    deep = grabbed(pixel_format="Mono16", region=region)
    assert (deep.pixels.dtype, deep.white) == (np.uint16, 65535)
    assert deep.pixels.max() > 255
    assert grabbed(pixel_format="RGB8", region=region).pixels.shape == (32, 64, 3)


def test_a_bayer_picture_has_the_colours_of_the_one_in_rgb() -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless not installed (extra camera)")
    frame = grabbed(pixel_format="BayerRG8")
    assert frame.pixels.shape == (512, 512, 3)


def test_exposure_and_gain_reach_the_camera() -> None:
    # The fake camera's picture is black at 1 ms, and brighter with either.
    def mean(exposure: float, gain: float) -> float:
        return float(grabbed(pixel_format="Mono8", exposure=exposure, gain=gain).pixels.mean())

    assert mean(1000, 0) == 0
    assert mean(1000, 1) > 20
    assert mean(10000, 0) > 20


def test_what_the_camera_does_not_take_is_named() -> None:
    with pytest.raises(CameraLost, match="pixel format from string Mono12"):
        grabbed(pixel_format="Mono12")
    with pytest.raises(ConfigError, match="region"):
        AravisCamera(Options("aravis", {"region": {"x": 0}}))
    with pytest.raises(ConfigError, match="YUV"):
        AravisCamera(Options("aravis", {"pixel_format": "YUV422_8"}))


def test_a_software_trigger_gives_one_frame() -> None:
    camera = AravisCamera(
        Options("aravis", {"camera": "127.0.0.1", "pixel_format": "Mono8", "trigger_source": "Software"})
    )
    camera.open()
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert camera.grab() is None
        camera.fire()
        next_frame(camera)
    finally:
        camera.close()


def test_a_camera_that_comes_back_inspects_again(served: Running, fake: FakeCamera) -> None:
    settings = {"camera": "127.0.0.1", "pixel_format": "Mono8", "timeout": 1}
    body = {"name": "gige", "product": "flange", "kind": "aravis", "settings": settings}

    def state() -> str:
        return str(served.station.sources.states()["gige"])

    with served.client() as client:
        assert client.post("/api/v1/sources", json=body).status_code == 201
        wait_for(lambda: state() == "", 20)
        address = "/api/v1/sources/gige/trigger"
        part = client.post(address, params={"part": "G-1"})
        assert part.status_code == 201, part.text
        assert (part.json()["width"], part.json()["height"]) == (512, 512)
        fake.kill()
        wait_for(lambda: state() != "", 20)
        assert client.post(address).status_code == 503
        fake.start()
        # On a busy machine a first image may take longer than a second; `benchmarks/line` measures the time.
        wait_for(lambda: client.post(address).status_code == 201, 30)
        assert state() == ""
        client.patch("/api/v1/sources/gige", json={"enabled": False})
