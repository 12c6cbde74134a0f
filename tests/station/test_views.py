"""Parts of which several views are pushed, the history of joined parts, and keys of triggers and parts."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from patchebm.station.arrival import Outcome
from patchebm.station.database.history import Inspection, JoinedPart, MissedPart, OutboxMessage
from patchebm.station.errors import ConflictError, UnavailableError
from patchebm.station.services import joining
from patchebm.station.sources import CAMERAS
from patchebm.station.sources.camera import CameraSource
from patchebm.station.sources.keys import Keyed
from patchebm.station.sources.options import Options
from tests.station.running import Running, noise_png, png, wait_for


def add_source(station: Running, name: str, kind: str, settings: dict[str, Any]) -> None:
    with station.client() as client:
        body = {"name": name, "product": "flange", "kind": kind, "settings": settings}
        answer = client.post("/api/v1/sources", json=body)
        assert answer.status_code == 201, answer.text


def add_views(station: Running, name: str = "cell", ng_views: int = 1) -> None:
    add_source(station, name, "pushed-views", {"views": {"left": {}, "right": {}}, "ng_views": ng_views})


def push(
    station: Running,
    images: dict[str, bytes],
    part: str = "",
    key: str | None = None,
    *,
    source: str = "cell",
    role: str = "line",
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    with station.client(role) as client:
        return client.post(
            f"/api/v1/sources/{source}/parts",
            params={"part": part},
            files={name: (f"{name}.png", content) for name, content in images.items()},
            headers=headers,
        )


def trigger(station: Running, name: str, part: str = "", key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    with station.client("line") as client:
        return client.post(f"/api/v1/sources/{name}/trigger", params={"part": part}, headers=headers)


def count(station: Running, table: type[Any]) -> int:
    with station.station.session() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_pushed_views_are_joined_and_read_again(station: Running) -> None:
    add_views(station)
    with station.client() as client:
        output = {"name": "mes", "kind": "webhook", "settings": {"url": "http://127.0.0.1:9/"}}
        assert client.post("/api/v1/outputs", json=output).status_code == 201
    answer = push(station, {"left": png(0), "right": noise_png()}, "P-1", "one")
    assert answer.status_code == 201, answer.text
    joined = answer.json()
    views = joined["views"]
    assert (joined["product"], joined["source"], joined["part"]) == ("flange", "cell", "P-1")
    assert [views[name]["verdict"] for name in ("left", "right")] == ["OK", "NG"]
    assert (joined["verdict"], joined["ng_views"], joined["worst_view"]) == ("NG", 1, "right")
    assert [views[name]["source"] for name in ("left", "right")] == ["cell/left", "cell/right"]
    assert [views[name]["idempotency_key"] for name in ("left", "right")] == ["one/left", "one/right"]
    with station.client("line") as client:
        assert client.get(answer.headers["location"]).json() == joined
    with station.station.session() as session:
        assert not session.scalars(select(Inspection).where(Inspection.unjoined_id.is_not(None))).all()
        sent = [one.body for one in session.scalars(select(OutboxMessage)) if one.kind == "part"]
    assert sent == [joined]
    with station.client("operator") as client:
        assert 'id="count-ng">1<' in client.get("/line/flange").text


def test_a_part_that_is_pushed_again_is_the_same_part(station: Running) -> None:
    add_views(station)
    images = {"left": png(0), "right": png(1)}
    first = push(station, images, "P-1", "one")
    again = push(station, images, "P-1", "one")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert (count(station, Inspection), count(station, JoinedPart)) == (2, 1)
    # Other images or another name are another part.
    for other in (
        push(station, images | {"right": png(2)}, "P-1", "one"),
        push(station, images, "P-2", "one"),
    ):
        assert other.status_code == 409
        assert "another part came under the Idempotency-Key 'one'" in other.json()["detail"]
    # Without a key each push is a part of its own.
    assert push(station, images, "P-1").json()["id"] != push(station, images, "P-1").json()["id"]


def test_a_view_that_cannot_be_read_is_named_and_the_part_can_be_sent_again(station: Running) -> None:
    add_views(station)
    broken = push(station, {"left": png(0), "right": b"no image"}, "P-1", "one")
    assert broken.status_code == 422
    assert "right: P-1 is not a PNG" in broken.json()["detail"], broken.text
    assert (count(station, Inspection), count(station, JoinedPart)) == (1, 0)
    # The view that was inspected is not inspected again; both belong to the part now.
    mended = push(station, {"left": png(0), "right": png(1)}, "P-1", "one")
    assert mended.status_code == 201, mended.text
    assert (count(station, Inspection), count(station, JoinedPart)) == (2, 1)
    with station.client() as client:
        missed = client.get("/api/v1/missed").json()["items"]
    assert [(one["source"], one["inspection"]) for one in missed] == [
        ("cell/right", mended.json()["views"]["right"]["id"])
    ]


def test_a_broken_view_does_not_matter_where_the_others_decide(station: Running) -> None:
    add_views(station)
    images = {"left": noise_png(), "right": b"no image"}
    decided = push(station, images, "P-1", "one")
    assert (decided.status_code, decided.json()["verdict"]) == (201, "NG")
    assert decided.json()["views"]["right"] is None
    again = push(station, images, "P-1", "one")
    assert (again.status_code, again.json()) == (200, decided.json())


@pytest.mark.parametrize(
    ("sent", "key", "status", "sentence"),
    [
        (("left",), None, 422, "takes the views left, right, and left came"),
        (("left", "right", "top"), None, 422, "and left, right, top came"),
        (("left", "right"), "k" * 123, 422, "Idempotency-Key must have 1 to 122 characters"),
        ((), None, 422, "multipart/form-data"),
    ],
)
def test_what_cannot_be_pushed_is_said(
    served: Running, sent: tuple[str, ...], key: str | None, status: int, sentence: str
) -> None:
    with served.client() as client:
        if "cell" not in {one["name"] for one in client.get("/api/v1/sources").json()}:
            add_views(served)
    answer = push(served, dict.fromkeys(sent, png(0)), "P-1", key)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "needs views: 2 to 16 by name"),
        ({"views": {"one": {}}}, "needs views: 2 to 16 by name"),
        ({"views": {"a": {}, "b": {}}, "ng_views": 3}, "ng_views"),
        ({"views": {"a": {}, "b": {"product": "none"}}}, "view 'b': there is no product 'none'"),
        ({"views": {"a": {}, "b": {"url": "x"}}}, "has no setting 'url'"),
        ({"views": {"a": {}, "B!": {}}}, "view 'B!'"),
        ({"views": {"a": {}, "b": 5}}, "view 'b' must be an object"),
    ],
)
def test_settings_that_cannot_be_are_said(served: Running, settings: dict[str, Any], sentence: str) -> None:
    with served.client() as client:
        body = {"name": "wrong", "product": "flange", "kind": "pushed-views", "settings": settings}
        answer = client.post("/api/v1/sources", json=body)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_other_sources_take_no_views_and_these_take_no_triggers(station: Running, tmp_path: Path) -> None:
    add_views(station)
    add_source(station, "folder-camera", "simulator", {"folder": str(tmp_path)})
    answer = push(station, {"left": png(0)}, source="folder-camera")
    assert (answer.status_code, "pushed-views" in answer.json()["detail"]) == (409, True)
    assert push(station, {"left": png(0)}, source="nothing").status_code == 404
    assert trigger(station, "cell").status_code == 409


def test_the_history_of_joined_parts_is_filtered_and_paged(station: Running) -> None:
    add_views(station)
    add_views(station, "other")
    ids = [push(station, {"left": png(i), "right": png(i + 1)}, f"P-{i}").json()["id"] for i in range(3)]
    bad = push(station, {"left": png(0), "right": noise_png()}, "Q-1", source="other").json()
    with station.client("operator") as client:

        def found(**filters: Any) -> list[str]:
            answer = client.get("/api/v1/joined-parts", params=filters)
            assert answer.status_code == 200, answer.text
            return [one["id"] for one in answer.json()["items"]]

        assert found() == [bad["id"], *reversed(ids)]
        assert found(source="other") == found(verdict="NG") == found(part="Q-1") == [bad["id"]]
        assert found(part="P-*", product="flange") == list(reversed(ids))
        assert found(since=bad["time"]) == [bad["id"]]
        assert found(until=bad["time"]) == list(reversed(ids))
        first = client.get("/api/v1/joined-parts", params={"limit": 3}).json()
        assert len(first["items"]) == 3
        assert first["items"][0]["views"]["right"]["verdict"] == "NG"
        assert found(cursor=first["next"]) == ids[:1]
        for query, status in (
            ({"product": "none"}, 404),
            ({"since": "2026-11-26T12:00:00"}, 422),
            ({"verdict": "odd"}, 422),
        ):
            assert client.get("/api/v1/joined-parts", params=query).status_code == status
        assert client.get(f"/api/v1/joined-parts/{bad['views']['left']['id']}").status_code == 404


def test_a_trigger_that_comes_again_is_the_same_part(station: Running, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.png").write_bytes(png(i))
    add_source(station, "simulated", "simulator", {"folder": str(folder)})
    first = trigger(station, "simulated", "P-1", "one")
    assert first.status_code == 201, first.text
    assert first.headers["location"] == f"/api/v1/inspections/{first.json()['id']}"
    again = trigger(station, "simulated", "P-1", "one")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json() == first.json()
    assert count(station, Inspection) == 1
    # No image was taken for it: the next part gets the next one.
    second = trigger(station, "simulated", "P-2", "two").json()
    assert second["sha256"] not in (first.json()["sha256"], "")
    other = trigger(station, "simulated", "P-3", "one")
    assert (other.status_code, "another part came" in other.json()["detail"]) == (409, True)
    # A push under the key of a trigger is another part, too.
    assert station.push(png(9), key="one").status_code == 409
    assert trigger(station, "simulated", "P-4", "k" * 129).status_code == 422
    assert count(station, MissedPart) == 0


def test_two_triggers_with_one_key_at_once_are_one_part(station: Running, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "b.png").write_bytes(png(1))
    add_source(station, "simulated", "simulator", {"folder": str(tmp_path)})
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(trigger(station, "simulated", "P-1", "one")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.status_code for one in answers} <= {200, 201}
    assert len({one.json()["id"] for one in answers}) == 1
    assert count(station, Inspection) == 1


def test_a_part_on_its_way_is_not_taken_twice_and_one_that_failed_is() -> None:
    taken: list[Future[Outcome]] = []

    def take() -> Future[Outcome]:
        taken.append(Future())
        return taken[-1]

    stored: dict[str, tuple[str, Outcome]] = {}
    keyed = Keyed(stored.get)
    first = keyed.once("k", "P-1", take)
    assert keyed.once("k", "P-1", take) is first
    with pytest.raises(ConflictError, match="'k'"):
        keyed.once("k", "P-2", take)
    first.set_exception(ConflictError("no image"))
    second = keyed.once("k", "P-1", take)
    assert second is not first
    stored["k"] = ("P-1", {"id": "1"})
    second.set_result({"id": "1"})
    assert keyed.once("k", "P-1", take).result() == {"id": "1", "replayed": True}
    assert len(taken) == 2


def test_a_deleted_source_leaves_its_parts_and_the_counts_of_the_shift(station: Running) -> None:
    add_views(station)
    joined = push(station, {"left": noise_png(1), "right": noise_png(2)}, "P-1").json()
    with station.client() as client:
        shown = client.get("/line/flange").text
        assert client.delete("/api/v1/sources/cell").status_code == 204
        assert client.delete("/api/v1/sources/cell").status_code == 404
        assert client.get("/api/v1/sources").json() == []
        assert client.get("/api/v1/joined-parts", params={"source": "cell"}).json()["items"] == [joined]
        # A part with several views counts once, as before.
        for page in (shown, client.get("/line/flange").text):
            assert 'id="count-ng">1<' in page
            assert 'id="part">P-1<' in page
        written = client.get("/api/v1/audit", params={"action": "source.delete"}).json()["items"]
    facts = {"product": "flange", "kind": "pushed-views"}
    assert [(one["subject"], one["details"]) for one in written] == [("source:cell", facts)]
    assert push(station, {"left": png(0), "right": png(1)}).status_code == 404


@pytest.mark.parametrize("again", [False, True])
def test_views_whose_source_was_deleted_before_they_were_joined_are_missed(
    station: Running, tmp_path: Path, again: bool
) -> None:
    received = station.station.inspector.receive(
        "flange", "cell/left", png(0), part="P-1", unjoined_id=uuid.uuid4()
    )
    received.result(30)
    if again:
        # Another source has the name now, which joins nothing.
        add_source(station, "cell", "simulator", {"folder": str(tmp_path)})
    assert joining.finish(station.station.session) == (0, 1)
    assert joining.finish(station.station.session) == (0, 0)
    with station.client() as client:
        missed = client.get("/api/v1/missed").json()["items"]
    assert [(one["source"], one["part"], one["reason"]) for one in missed] == [("cell", "P-1", "stopped")]
    assert "deleted" in missed[0]["message"]


class SilentCamera:
    """A camera that is there, and waits for a trigger of its own that never comes."""

    def open(self) -> None:
        """Nothing has to be opened."""

    fire = close = open

    def grab(self) -> None:
        """Waits for a frame as a driver does."""
        threading.Event().wait(0.01)


def test_a_view_without_a_frame_is_given_up_at_the_deadline_of_the_part(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(context: Any, settings: dict[str, Any]) -> CameraSource:
        return CameraSource(context, SilentCamera(), Options("silent", settings))

    monkeypatch.setitem(CAMERAS, "silent", silent)
    # A longer deadline of the view does not hold up the part.
    views = {"left": {"kind": "silent"}, "right": {"kind": "silent", "deadline": 600}}
    add_source(served, "slow", "views", {"views": views, "deadline": 0.1})
    sources = served.station.sources
    wait_for(lambda: sources.states()["slow"] == "")
    with pytest.raises(UnavailableError, match=r"no frame came within deadline = 0\.1 s"):
        sources.trigger("slow", "P-9").result(20)
    assert sources.counts()["slow"] == {"inspected": 0, "missed": 1, "late": 1, "bounced": 0}
    with served.client() as client:
        missed = lambda: [  # noqa: E731
            (one["source"], one["reason"])
            for one in client.get("/api/v1/missed").json()["items"]
            if one["part"] == "P-9"
        ]
        wait_for(lambda: sorted(missed()) == [("slow/left", "late"), ("slow/right", "late")])
        assert client.patch("/api/v1/sources/slow", json={"enabled": False}).status_code == 200
