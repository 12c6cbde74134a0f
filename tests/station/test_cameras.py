"""Cameras as they are on a line: real streams that move, freeze, go black, go away and come back."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from patchebm.errors import ConfigError
from patchebm.station.database.history import OutboxMessage
from patchebm.station.services.joining import joined_verdict
from patchebm.station.sources.frame_check import FrameCheck
from patchebm.station.sources.frames import Frame
from patchebm.station.sources.options import Options, without_secrets
from patchebm.station.sources.triggers import Triggers
from tests.station.running import Running, noise_png, png, wait_for
from tests.station.streams import BLACK, STILL, Stream, http_stream, rtsp_stream

pytest.importorskip("cv2", reason="opencv-python-headless not installed (extra camera)")


def test_views_are_joined_and_the_worst_decides(served: Running) -> None:
    with served.client() as client, http_stream() as left, http_stream() as right:
        views = {name: {"kind": "opencv", "url": one.url} for name, one in (("left", left), ("right", right))}
        outputs = {"name": "mes", "kind": "webhook", "settings": {"url": "http://127.0.0.1:9/"}}
        assert client.post("/api/v1/outputs", json=outputs).status_code == 201
        body = {"name": "both", "product": "flange", "kind": "views", "settings": {"views": views}}
        assert client.post("/api/v1/sources", json=body).status_code == 201
        is_well(served, "both")
        answer = trigger(served, "both", "P-7")
        assert answer.status_code == 201, answer.text
        joined = answer.json()
        assert set(joined["views"]) == {"left", "right"}
        assert {one["part"] for one in joined["views"].values()} == {"P-7"}
        ng = [one["verdict"] for one in joined["views"].values()].count("NG")
        assert (joined["ng_views"], joined["verdict"]) == (ng, "NG" if ng else "OK")
        assert len(parts(served, "both/left")) == len(parts(served, "both/right")) == 1
        with served.station.session() as session:
            sent = [one for one in session.scalars(select(OutboxMessage)) if one.kind == "part"]
        assert [one.body["id"] for one in sent] == [joined["id"]]
        # Without one of its views a part has a verdict only if that view could not change it.
        right.kill()
        wait_for(lambda: "right" in facts(served, "both")["state"], 15)
        answer = trigger(served, "both", "P-8")
        seen = parts(served, "both/left")[0]
        if seen["verdict"] == "NG":
            assert answer.json()["verdict"] == "NG"
        else:
            assert answer.status_code == 503
            assert "right" in answer.json()["detail"]
        client.patch("/api/v1/sources/both", json={"enabled": False})
        client.patch("/api/v1/outputs/mes", json={"enabled": False})


@pytest.mark.parametrize(("needed", "verdict"), [(1, "NG"), (2, "OK")])
def test_the_line_shows_the_joined_verdict_and_counts_the_part_once(
    served: Running, tmp_path: Path, needed: int, verdict: str
) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(png())
    bad.write_bytes(noise_png())
    product, name = f"part-{needed}", f"sides-{needed}"
    with (
        served.client() as client,
        http_stream(good, lossless=True) as left,
        http_stream(bad, lossless=True) as right,
    ):
        client.post("/api/v1/products", json={"name": product})
        # The model is that of another product, which the line of that one shows view by view.
        views = {
            view: {"kind": "opencv", "url": one.url, "product": "flange", "frozen_after": 0}
            for view, one in (("left", left), ("right", right))
        }
        body = {"name": name, "product": product, "kind": "views"}
        body["settings"] = {"views": views, "ng_views": needed}
        assert client.post("/api/v1/sources", json=body).status_code == 201
        is_well(served, name)
        joined = trigger(served, name, f"C-{needed}").json()
        assert [joined["views"][view]["verdict"] for view in views] == ["OK", "NG"]
        assert (joined["verdict"], joined["ng_views"], joined["worst_view"]) == (verdict, 1, "right")
        assert joined["score"] == joined["views"]["right"]["score"]
        shown = client.get(f"/line/{product}").text
        assert f'class="verdict {verdict.lower()}"' in shown
        assert f"C-{needed}" in shown
        # The part once, whatever the number of its views.
        assert f'id="count-{verdict.lower()}">1<' in shown
        assert f'id="count-{"ok" if verdict == "NG" else "ng"}">0<' in shown
        assert f"C-{needed}" in client.get("/line/flange").text
        client.patch(f"/api/v1/sources/{name}", json={"enabled": False})


def test_operators_hear_of_a_camera_that_is_away(served: Running, camera: Any) -> None:
    with http_stream() as stream:
        camera("gone", stream)
        is_well(served, "gone")
    wait_for(lambda: facts(served, "gone")["state"] != "", 15)
    with served.client("operator") as client:
        assert "<strong>gone</strong>: " in client.get("/line/flange").text


@pytest.mark.parametrize(
    ("verdicts", "needed", "expected"),
    [
        ("OK OK", 1, "OK"),
        ("OK NG", 1, "NG"),
        ("OK NG", 2, "OK"),
        ("NG NG", 2, "NG"),
        ("NG ?", 1, "NG"),
        ("OK ?", 1, None),
        ("OK ?", 2, "OK"),
        ("NG ?", 2, None),
        ("? ?", 1, None),
    ],
)
def test_a_missing_view_counts_as_what_it_could_be(verdicts: str, needed: int, expected: str | None) -> None:
    views = {str(i): None if word == "?" else {"verdict": word} for i, word in enumerate(verdicts.split())}
    assert joined_verdict(views, needed) == expected


@pytest.fixture
def camera(served: Running) -> Iterator[Any]:
    """Adds sources to the station that tests share, and turns them off at the end."""
    added = []

    def add(name: str, stream: Stream, **settings: Any) -> None:
        body = {"name": name, "product": "flange", "kind": "opencv"}
        body["settings"] = {"url": stream.url, "timeout": 1, **settings}
        with served.client() as client:
            answer = client.post("/api/v1/sources", json=body)
        assert answer.status_code == 201, answer.text
        added.append(name)

    yield add
    with served.client() as client:
        for name in added:
            client.patch(f"/api/v1/sources/{name}", json={"enabled": False})


def facts(served: Running, name: str) -> dict[str, Any]:
    with served.client() as client:
        found = client.get("/api/v1/sources").json()
    return next(one for one in found if one["name"] == name)


def trigger(served: Running, name: str, part: str = "") -> httpx.Response:
    with served.client("line") as client:
        return client.post(f"/api/v1/sources/{name}/trigger", params={"part": part})


def parts(served: Running, name: str) -> list[dict[str, Any]]:
    with served.client() as client:
        found = client.get("/api/v1/inspections", params={"source": name, "limit": 500})
    items: list[dict[str, Any]] = found.json()["items"]
    return items


def missed(served: Running, name: str) -> list[dict[str, Any]]:
    with served.client() as client:
        found = client.get("/api/v1/missed", params={"limit": 500}).json()["items"]
    return [one for one in found if one["source"] == name]


def is_well(served: Running, name: str) -> None:
    wait_for(lambda: facts(served, name)["state"] == "", 20)


def test_a_trigger_inspects_the_next_frame(served: Running, camera: Any) -> None:
    with http_stream() as stream:
        camera("http", stream, deadline=30)
        is_well(served, "http")
        answer = trigger(served, "http", "P-1")
        assert answer.status_code == 201
        part = answer.json()
        assert (part["part"], part["source"], part["width"], part["height"]) == ("P-1", "http", 96, 64)
        assert [one["id"] for one in parts(served, "http")] == [part["id"]]
        assert facts(served, "http")["counts"] == {"inspected": 1, "missed": 0, "late": 0, "bounced": 0}
        with served.client("line") as client:
            metrics = client.get("/metrics").text
        assert 'patchebm_source_parts_total{kind="inspected",source="http"} 1.0' in metrics
        # Stored without loss, in the order of colours that files have.
        with served.client() as client:
            kept = client.get(part["image"])
        assert kept.headers["content-type"] == "image/png"


def test_the_same_over_rtsp(served: Running, camera: Any) -> None:
    with rtsp_stream() as stream:
        camera("rtsp", stream, timeout=10, frozen_after=0)
        is_well(served, "rtsp")
        assert trigger(served, "rtsp").status_code == 201


@pytest.mark.parametrize("again", ["http", "rtsp"])
def test_a_camera_that_comes_back_is_connected_again_soon(served: Running, camera: Any, again: str) -> None:
    name = f"again-{again}"
    with http_stream() if again == "http" else rtsp_stream() as stream:
        camera(name, stream, timeout=10 if again == "rtsp" else 1)
        is_well(served, name)
        for _ in range(2):
            stream.kill()
            wait_for(lambda: facts(served, name)["state"] != "", 15)
            # Shown as away, and what is triggered meanwhile is refused and listed.
            answer = trigger(served, name, "away")
            assert answer.status_code == 503
            assert "127.0.0.1" in answer.json()["detail"]
            # Long enough for the pauses to have grown.
            time.sleep(1.5)
            stream.start()
            began = time.monotonic()
            is_well(served, name)
            # The pauses do not grow beyond a second; the rest is for a busy machine.
            assert time.monotonic() - began < 10
        wait_for(lambda: [one["reason"] for one in missed(served, name)] == ["away"] * 2)
        assert trigger(served, name).status_code == 201


def test_a_stream_that_stands_still_is_away(served: Running, camera: Any) -> None:
    with http_stream() as stream:
        camera("stands", stream, timeout=0.5)
        is_well(served, "stands")
        stream.pause()
        answer = trigger(served, "stands", "waits")
        assert answer.status_code == 503
        assert "no picture" in answer.json()["detail"]


@pytest.mark.parametrize(("picture", "reason"), [(STILL, "frozen"), (BLACK, "black")])
def test_a_frozen_or_black_stream_is_noticed(served: Running, camera: Any, picture: str, reason: str) -> None:
    with http_stream(picture) as stream:
        camera(reason, stream, frozen_after=0.5)
        wait_for(lambda: "picture" in facts(served, reason)["state"], 20)
        answer = trigger(served, reason, "unseen")
        assert answer.status_code == 503
        wait_for(lambda: [one["reason"] for one in missed(served, reason)] == [reason])
        assert parts(served, reason) == []


def test_frames_faster_than_the_model_are_counted_and_listed(
    served: Running, camera: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The queue is stopped up: the model of the tests is faster than any stream.
    gate = threading.Event()
    active_models = served.station.active_models
    of = active_models.of

    def slow(product_id: int) -> Any:
        if threading.current_thread().name.startswith("inspector"):
            gate.wait(20)
        return of(product_id)

    monkeypatch.setattr(active_models, "of", slow)
    with http_stream() as stream:
        camera("fast", stream, trigger="frames", ahead=2)
        wait_for(lambda: facts(served, "fast")["counts"].get("missed", 0) >= 5, 20)
        with served.client() as client:
            client.patch("/api/v1/sources/fast", json={"settings": {"url": stream.url}})
            gate.set()
        wait_for(lambda: len(parts(served, "fast")) == 2)
        listed = missed(served, "fast")
        assert {one["reason"] for one in listed} == {"queue_full"}
        assert len(listed) >= 5


def test_the_clock_triggers_as_often_as_it_is_told(served: Running, camera: Any) -> None:
    with http_stream() as stream:
        camera("clock", stream, trigger="interval", interval=0.4)
        wait_for(lambda: len(parts(served, "clock")) >= 5, 30)
        times = sorted(one["time"] for one in parts(served, "clock"))
        seconds = [float(one[17:19]) + float(one[20:23]) / 1000 + 60 * int(one[14:16]) for one in times]
        assert abs((seconds[4] - seconds[0]) % 3600 - 1.6) < 0.6
        assert trigger(served, "clock").status_code == 409


def test_what_the_camera_showed_is_stored_to_the_last_bit(served: Running, camera: Any) -> None:
    with http_stream("color=c=0x123456:size=96x64:rate=25,format=rgb24", lossless=True) as stream:
        camera("exact", stream, frozen_after=0)
        is_well(served, "exact")
        part = trigger(served, "exact").json()
        with served.client() as client:
            kept = np.asarray(Image.open(io.BytesIO(client.get(part["image"]).content)))
        assert kept.shape == (64, 96, 3)
        assert set(map(tuple, kept.reshape(-1, 3))) == {(0x12, 0x34, 0x56)}


def test_passwords_in_addresses_are_not_shown(served: Running, camera: Any) -> None:
    url = "rtsp://viewer:geheim@127.0.0.1:9/stream"
    body = {"name": "secret", "product": "flange", "kind": "opencv", "settings": {"url": url, "timeout": 0.2}}
    with served.client() as client:
        assert client.post("/api/v1/sources", json=body).status_code == 201
        wait_for(lambda: "cannot be reached" in facts(served, "secret")["state"])
        shown = client.get("/api/v1/sources").text + client.get("/api/v1/audit").text
        client.patch("/api/v1/sources/secret", json={"enabled": False})
    assert "geheim" not in shown
    assert "rtsp://…@127.0.0.1:9/stream" in shown


def test_secrets_of_views_are_hidden_too() -> None:
    settings = {"views": {"top": {"url": "http://a:b@host/x"}}, "interval": 2}
    assert without_secrets(settings) == {"views": {"top": {"url": "http://…@host/x"}}, "interval": 2}


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "url"),
        ({"url": "file:///etc/passwd"}, "url must begin"),
        ({"url": "http://…@host/"}, "hidden"),
        ({"url": "http://host/", "device": 0}, "either url"),
        ({"url": "http://host/", "exposure": 3}, "exposure"),
        ({"url": "http://host/", "triger": "frames"}, "did you mean"),
        ({"url": "http://host/", "trigger": "sometimes"}, "sometimes"),
        ({"url": "http://host/", "trigger": "interval"}, "interval"),
        ({"url": "http://host/", "interval": 2}, "interval"),
        ({"url": "http://host/", "delay": -1}, "delay"),
        ({"url": "http://host/", "ahead": True}, "ahead"),
        ({"url": "http://host/", "black_below": 2}, "black_below"),
    ],
)
def test_wrong_settings_are_named(served: Running, settings: dict[str, Any], word: str) -> None:
    body = {"name": "wrong", "product": "flange", "kind": "opencv", "settings": settings}
    with served.client() as client:
        answer = client.post("/api/v1/sources", json=body)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]


def test_bounces_are_one_trigger_and_delays_move_the_frame() -> None:
    triggers = Triggers(Options("x", {"debounce": 5, "delay": 0.5}))
    first = triggers.software("a")
    with pytest.raises(Exception, match="within debounce"):
        triggers.software("b")
    assert triggers.bounced == 1
    assert triggers.take(first.time + 0.4) is None
    assert triggers.take(first.time + 0.5) is first
    assert triggers.take(first.time + 9) is None


def test_a_frame_serves_one_trigger_and_deadlines_pass() -> None:
    triggers = Triggers(Options("x", {"deadline": 1}))
    first, second, third = (triggers.software(name) for name in "abc")
    assert triggers.take(third.time) is first
    assert triggers.overdue(third.time + 0.5) == []
    assert triggers.overdue(third.time + 1.1) == [second, third]
    assert triggers.all() == []


def frame(value: int, at: float, white: int = 255) -> Frame:
    return Frame(np.full((4, 5), value, np.uint8 if white == 255 else np.uint16), white, at)


def test_a_picture_is_frozen_after_its_time_and_lives_with_its_first_change() -> None:
    check = FrameCheck(Options("x", {"frozen_after": 2}))
    words = [check.fault_of(frame(100, at))[0] for at in (0, 1, 1.9, 2, 3)]
    assert words == ["", "", "", "frozen", "frozen"]
    assert check.fault_of(frame(101, 4))[0] == ""
    # Black is measured against what the camera can give: 12 bits in 16.
    assert check.fault_of(frame(100, 5, 4095))[0] == ""
    assert check.fault_of(frame(20, 6, 4095))[0] == "black"
    # Two frames that are the same are no evidence, however long between them.
    assert check.fault_of(frame(90, 10))[0] == ""
    assert check.fault_of(frame(90, 30))[0] == ""


def test_numbers_of_twelve_bits_and_colours_of_sixteen_are_packed_as_they_are() -> None:
    from patchebm.images.decoders import decode

    values = np.random.default_rng(0).integers(0, 4096, (6, 7), dtype=np.uint16)
    for pixels in (values, np.dstack([values, values // 2, values // 3]), values.astype(np.uint8)):
        found = decode(Frame(pixels, 4095).png(), Path("frame"))
        assert np.array_equal(np.squeeze(found.values), pixels)


def test_a_check_says_what_is_wrong_in_one_sentence(tmp_path: Any) -> None:
    from patchebm.station.sources import open_source
    from patchebm.station.sources.base import Context

    nothing: Any = None
    context = Context(0, "x", 1, "flange", nothing, nothing, nothing)
    with http_stream(BLACK) as stream:
        settings = {"url": stream.url, "timeout": 10}
        assert "black" in (open_source("opencv", context, settings).check() or "")
    assert "cannot be reached" in (open_source("opencv", context, settings).check() or "")
    assert open_source("folder", context, {"folder": str(tmp_path)}).check() is None
    gone = str(tmp_path / "gone")
    assert gone in (open_source("folder", context, {"folder": gone}).check() or "")
    with pytest.raises(ConfigError, match="none of"):
        open_source("webcam", context, {})
