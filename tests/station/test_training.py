"""Training in the browser: real processes of `check`, `train` and `export` beside a station that serves."""

from __future__ import annotations

import json
import re
import time
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from patchebm.station.errors import ConflictError, UnavailableError
from patchebm.station.trainings import NEEDED, Trainings
from tests.station.running import Running, png, running

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason="torch is not installed (extra train)"
)


def good(count: int, split: str = "train/good") -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("images", (f"../../etc/part {i}.png", png(i, split=split), "image/png")) for i in range(count)]


def begin(client: httpx.Client, files: list, **fields: str) -> httpx.Response:
    return client.post("/products/flange/trainings", data={"rate": "0.1"} | fields, files=files)


def ended(client: httpx.Client, address: str, seconds: float = 500) -> str:
    """The page of a training, once it no longer loads itself again."""
    deadline = time.monotonic() + seconds
    while 'http-equiv="refresh"' in (page := client.get(address)).text:
        assert time.monotonic() < deadline, page.text
        time.sleep(0.2)
    assert page.status_code == 200
    return page.text


@pytest.mark.station
@pytest.mark.timeout(600)
def test_a_model_is_trained_looked_at_added_and_activated(served: Running) -> None:
    with served.client("engineer") as client, served.client("line") as line:
        pushed = [line.post("/api/v1/products/flange/inspections", content=png(i)).json() for i in range(3)]
        client.post(f"/api/v1/inspections/{pushed[0]['id']}/reviews", json={"verdict": "good"})
        assert "1 parts that were confirmed good" in client.get("/products/flange/trainings").text
        begun = begin(client, good(20), confirmed="true", quick="true")
        assert begun.status_code == 303
        address = begun.headers["location"]
        # The line goes on meanwhile.
        assert line.post("/api/v1/products/flange/inspections", content=png(3)).status_code == 201
        page = ended(client, address)
        assert "Add as a version, and compare" in page, page
        assert "trained on 21 images" in page
        assert re.search(r"000(\d\d)-part-\d+\.png", client.get(f"{address}/training").text)
        # Nothing but the report's own style: no script, and nothing from elsewhere.
        for kind in ("check", "training"):
            report = client.get(f"{address}/{kind}")
            assert report.headers["content-type"].startswith("text/html")
            assert "sandbox" in report.headers["content-security-policy"]
            assert "<h1" in report.text
        added = client.post(f"{address}/model")
        assert added.headers["location"] == "/products/flange/compare/2"
        assert client.post(f"{address}/model").status_code == 409
        compared = client.get(added.headers["location"])
        assert compared.status_code == 200
        assert client.post("/products/flange/activate", data={"version": "2"}).status_code == 303
        verdict = line.post("/api/v1/products/flange/inspections", content=png(4)).json()
        assert verdict["model"] == 2
        actions = [one["action"] for one in served.client("admin").get("/api/v1/audit").json()["items"]]
        assert {"training.start", "model.add", "model.activate"} <= set(actions)


def test_what_is_no_image_is_refused_before_anything_is_kept(served: Running) -> None:
    folder = served.settings.folder / "trainings"
    before = set(folder.glob("*"))
    with served.client("engineer") as client:
        refused = begin(client, [*good(2), ("images", ("notes.txt", b"no image", "text/plain"))])
        assert refused.status_code == 422
        assert "notes.txt" in refused.text
        assert "there is no good image to learn from" in begin(client, []).text
        assert begin(client, good(2), rate="1.5").status_code == 422
        nothing = "/products/flange/trainings/nothing"
        assert client.get(nothing).status_code == 404
        assert client.post(f"{nothing}/cancel").status_code == 404
        assert client.post(f"{nothing}/model").status_code == 404
    assert set(folder.glob("*")) == before


def test_one_training_at_a_time_can_be_cancelled(served: Running) -> None:
    with served.client("engineer") as client:
        address = begin(client, good(20)).headers["location"]
        second = begin(client, good(20))
        assert second.status_code == 409
        assert "another training runs" in second.text
        assert client.post(f"{address}/cancel").status_code == 303
        page = ended(client, address, 30)
        assert "cancelled" in page
        assert client.post(f"{address}/model").status_code == 409
        # Its images are gone, and the next one can begin.
        left = served.settings.folder / "trainings" / address.rpartition("/")[2]
        assert not (left / "good").exists()
        again = begin(client, good(20)).headers["location"]
        client.post(f"{again}/cancel")


def test_why_a_training_failed_is_said(tmp_path: Path) -> None:
    trainings = Trainings(tmp_path)

    def one_that_is_broken(folder: Path) -> int:
        (folder / "0.png").write_bytes(png()[:200])
        return 1

    begun = trainings.begin(
        "flange", one_that_is_broken, quick=True, false_alarm_rate=0.1, started_by="user:a"
    )
    deadline = time.monotonic() + 120
    while (found := trainings.get("flange", begun.id)).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert found.state == "failed"
    assert found.step == "check"
    assert found.message
    with pytest.raises(ConflictError, match="no model"):
        trainings.bundle(found)


def test_what_an_end_of_the_station_interrupts_is_said_at_the_next_start(
    bundle_file: Path, tmp_path: Path
) -> None:
    with running(tmp_path / "station", bundle_file) as station, station.client("engineer") as client:
        address = begin(client, good(20)).headers["location"]
    record = tmp_path / "station" / "trainings" / address.rpartition("/")[2] / "training.json"
    facts = json.loads(record.read_text())
    assert facts["state"] == "cancelled"
    # As after a power cut.
    record.write_text(json.dumps(facts | {"state": "running", "ended": None}))
    with running(tmp_path / "station", bundle_file) as station, station.client("engineer") as client:
        page = client.get(address).text
    assert "the station ended meanwhile; start it again" in page


def test_a_station_without_torch_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchebm.station.trainings.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match=r"needs torch, .* upload the bundle"):
        Trainings(tmp_path).begin(
            "flange", lambda _: 1, quick=True, false_alarm_rate=0.1, started_by="user:a"
        )
    assert list(tmp_path.iterdir()) == []
