"""The REST interface, over a socket, on both databases."""

from __future__ import annotations

import concurrent.futures
import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

import patchebm
from patchebm.station.database.history import Inspection
from tests.station.running import Running, png, running, wait_for


def test_a_pushed_part_is_inspected_as_the_bundle_inspects_it_and_stored(
    station: Running, bundle_file: Path
) -> None:
    image = png(0)
    answer = station.push(image, part="P-1")
    assert answer.status_code == 201
    found = answer.json()
    expected = patchebm.load(bundle_file).predict([image])[0]
    assert found["score"] == pytest.approx(expected.score, abs=1e-5)
    assert found["levels"] == pytest.approx(expected.levels, abs=1e-5)
    assert found["tail_probability"] == pytest.approx(expected.tail_probability)
    assert found["verdict"] == ("NG" if expected.anomalous else "OK")
    assert (found["part"], found["product"], found["model"]) == ("P-1", "flange", 1)
    with station.client("operator") as client:
        assert client.get(answer.headers["Location"]).json() == found
        stored = client.get(found["image"])
        # As it came, to the byte.
        assert stored.content == image
        assert stored.headers["content-type"] == "image/png"
        grey = client.get(found["map"], params={"style": "grey"})
        low, high = (float(grey.headers[f"X-Map-{end}"]) for end in ("Low", "High"))
        values = np.asarray(Image.open(io.BytesIO(grey.content)), dtype=np.float64) / 255 * (high - low) + low
        assert expected.heat_map is not None
        assert np.abs(values - np.clip(expected.heat_map, low, high)).max() <= (high - low) / 255
        assert Image.open(io.BytesIO(client.get(found["map"]).content)).mode == "RGBA"


def test_regions_of_the_map_are_kept_as_the_bundle_finds_them(served: Running, bundle_file: Path) -> None:
    predictor = patchebm.load(bundle_file)
    counts = []
    for defect in ("good", "scratch", "stain"):
        image = png(3, defect, f"test/{defect}")
        found = served.push(image).json()
        expected = predictor.predict([image])[0].record()
        assert found["region_count"] == expected["region_count"] == len(found["regions"])
        for mine, theirs in zip(found["regions"], expected["regions"], strict=True):
            assert mine["box"] == theirs["box"]
            assert mine["peak"] == pytest.approx(theirs["peak"], abs=1e-4)
        with served.client("operator") as client:
            assert client.get(f"/api/v1/inspections/{found['id']}").json()["regions"] == found["regions"]
        counts.append(found["region_count"])
    assert max(counts) > 0


def test_multipart_gives_the_same_verdict(served: Running) -> None:
    image = png(1)
    with served.client("line") as client:
        form = client.post("/api/v1/products/flange/inspections", files={"image": ("a.png", image)})
    assert form.status_code == 201
    assert form.json()["score"] == served.push(image).json()["score"]


def test_requests_with_one_key_are_one_part_however_many_come_at_once(station: Running) -> None:
    image = png(2)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: station.push(image, key="k-1"), range(24)))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    with station.station.session() as session:
        assert session.scalar(select(func.count()).select_from(Inspection)) == 1
    # Much later, and after a restart, too.
    again = station.push(image, key="k-1")
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    other = station.push(png(3), key="k-1")
    assert other.status_code == 409
    assert "k-1" in other.json()["detail"]


def test_a_key_counts_within_its_product(served: Running, bundle_file: Path) -> None:
    with served.client("engineer") as client:
        assert client.post("/api/v1/products", json={"name": "other"}).status_code == 201
        client.post("/api/v1/products/other/models", content=bundle_file.read_bytes())
        client.post("/api/v1/products/other/models/1/activate")
        sent = client.post(
            "/api/v1/products/other/inspections", content=png(0), headers={"Idempotency-Key": "shared"}
        )
    assert sent.status_code == 201
    assert served.push(png(1), key="shared").status_code == 201


def test_history_comes_in_pages_without_gaps_or_repeats(station: Running) -> None:
    ids = [station.push(png(i % 4), part=f"{'a' if i % 2 else 'b'}-{i}").json()["id"] for i in range(7)]
    with station.client("operator") as client:
        seen, cursor = [], None
        while True:
            parameters = {"limit": 3} | ({"cursor": cursor} if cursor else {})
            page = client.get("/api/v1/inspections", params=parameters).json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == sorted(ids, reverse=True)
        starting = client.get("/api/v1/inspections", params={"part": "a-*"}).json()["items"]
        assert [item["part"] for item in starting] == ["a-5", "a-3", "a-1"]
        first = client.get(f"/api/v1/inspections/{seen[-1]}").json()
        since = client.get("/api/v1/inspections", params={"until": first["time"]}).json()["items"]
        assert first["id"] not in {item["id"] for item in since}
        for name, value in [("verdict", first["verdict"]), ("model", 1), ("sha256", first["sha256"])]:
            found = client.get("/api/v1/inspections", params={"product": "flange", name: value}).json()
            assert first["id"] in {item["id"] for item in found["items"]}
        level, score = next(iter(first["levels"].items()))
        found = client.get("/api/v1/inspections", params={"level": level, "min_level": score - 1e-6}).json()
        assert first["id"] in {item["id"] for item in found["items"]}
        assert all(item["levels"][level] >= score - 1e-6 for item in found["items"])
        assert client.get("/api/v1/inspections", params={"product": "none"}).status_code == 404
        assert client.get("/api/v1/inspections", params={"since": "2026-11-26T12:00:00"}).status_code == 422


def test_a_review_is_kept_and_the_newest_counts(station: Running) -> None:
    part = station.push(png(0)).json()["id"]
    with station.client("operator") as client:
        address = f"/api/v1/inspections/{part}/reviews"
        assert client.post(address, json={"verdict": "defective", "defect": "scratch"}).status_code == 201
        assert client.post(address, json={"verdict": "good", "defect": "scratch"}).status_code == 422
        assert client.post(address, json={"verdict": "good"}).status_code == 201
        assert [review["verdict"] for review in client.get(address).json()] == ["good", "defective"]
        found = client.get("/api/v1/inspections", params={"review": "good"}).json()["items"]
        assert [item["id"] for item in found] == [part]
        assert client.get("/api/v1/inspections", params={"review": "none"}).json()["items"] == []


def test_models_are_verified_activated_and_rolled_back(
    station: Running, bundle_file: Path, tmp_path: Path
) -> None:
    content = bytearray(bundle_file.read_bytes())
    with station.client("engineer") as client:
        models = "/api/v1/products/flange/models"
        content[len(content) // 2] ^= 1
        altered = client.post(models, content=bytes(content))
        assert altered.status_code == 422
        assert client.post(models, content=b"PK no bundle").status_code == 422
        assert client.post(models, content=bundle_file.read_bytes()).status_code == 409
        second = client.post(models, files={"model": ("b.patchebm", _other_bundle(bundle_file))})
        assert (second.status_code, second.json()["version"]) == (201, 2)
        assert second.json()["parity"]
        assert station.push(png(0)).json()["model"] == 1
        client.post(f"{models}/2/activate")
        assert station.push(png(0)).json()["model"] == 2
        client.post(f"{models}/1/activate")
        assert station.push(png(0)).json()["model"] == 1
        details = client.get("/api/v1/products/flange").json()
        trail = [(one["version"], one["actor"]) for one in details["activations"]]
        assert trail == [(1, "token:engineer-token"), (2, "token:engineer-token"), (1, "command line")]
        assert client.post(f"{models}/1/activate").status_code == 409
        assert client.post(f"{models}/9/activate").status_code == 404


def test_a_moved_threshold_decides_from_the_next_part_on(station: Running) -> None:
    first = station.push(png(0)).json()
    with station.client("engineer") as client:
        address = "/api/v1/products/flange/calibrations"
        moved = client.post(address, json={"threshold": first["score"] - 0.01, "note": "stricter"})
        assert (moved.status_code, moved.json()["status"]) == (201, "active")
        second = station.push(png(0)).json()
        assert (second["verdict"], second["score"]) == ("NG", first["score"])
        assert second["calibration"] == moved.json()["id"]
        assert client.post(address, json={}).status_code == 422
        assert client.post(address, json={"from_reviews": True}).status_code == 422
        rate = client.post(address, json={"false_alarm_rate": 0.2}).json()
        assert station.push(png(0)).json()["threshold"] == rate["threshold"]


def test_with_four_eyes_another_person_must_approve(station: Running) -> None:
    first = station.push(png(0)).json()
    with station.client("admin") as admin, station.client("engineer") as engineer:
        assert admin.patch("/api/v1/options", json={"four_eyes": True}).json()["four_eyes"]
        address = "/api/v1/products/flange/calibrations"
        wanted = engineer.post(address, json={"threshold": first["score"] - 1}).json()
        assert (wanted["status"], wanted["in_force"]) == ("proposed", False)
        assert station.push(png(0)).json()["threshold"] == first["threshold"]
        assert engineer.post(f"{address}/{wanted['id']}/approve").status_code == 403
        assert admin.post(f"{address}/{wanted['id']}/approve").json()["in_force"]
        assert station.push(png(0)).json()["threshold"] == wanted["threshold"]
        assert admin.post(f"{address}/{wanted['id']}/reject").status_code == 409


def test_parts_that_are_not_inspected_are_counted_and_listed(station: Running) -> None:
    assert station.push(b"no image", part="P-9", key="k-9").status_code == 422
    with station.client("operator") as client:
        wait_for(lambda: client.get("/api/v1/missed").json()["open"] == {"unreadable": 1})
        entry = client.get("/api/v1/missed").json()["items"][0]
        assert (entry["part"], entry["reason"], entry["inspection"]) == ("P-9", "unreadable", None)
        # The camera sends the part again.
        inspected = station.push(png(0), part="P-9", key="k-9").json()
        assert client.get("/api/v1/missed").json()["open"] == {}
        assert client.get("/api/v1/missed").json()["items"][0]["inspection"] == inspected["id"]
        assert client.get("/api/v1/missed", params={"open_only": True}).json()["items"] == []


def test_a_full_queue_refuses_says_so_and_lists_each_part(bundle_file: Path, tmp_path: Path) -> None:
    with (
        running(tmp_path / "station", bundle_file, queue=1, workers=1) as station,
        concurrent.futures.ThreadPoolExecutor(16) as pool,
    ):
        answers = list(pool.map(lambda i: station.push(png(0), part=f"p{i}"), range(48)))
        refused = [answer for answer in answers if answer.status_code != 201]
        assert refused
        assert {answer.status_code for answer in refused} == {503}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        with station.client("operator") as client:
            counts = {"queue_full": len(refused)}
            wait_for(lambda: client.get("/api/v1/missed").json()["open"] == counts)
            stored = client.get("/api/v1/inspections", params={"limit": 100}).json()["items"]
        assert len(stored) + len(refused) == 48


def test_a_product_without_a_model_inspects_nothing_and_lists_the_part(station: Running) -> None:
    with station.client("admin") as client:
        client.post("/api/v1/products", json={"name": "new"})
        answer = client.post("/api/v1/products/new/inspections", content=png(0))
        assert answer.status_code == 503
        wait_for(lambda: client.get("/api/v1/missed").json()["open"] == {"no_model": 1})


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_hold_every_part_with_its_levels(station: Running, form: str, tmp_path: Path) -> None:
    ids = [station.push(png(i), part="=1+1" if i == 0 else f"p{i}").json()["id"] for i in range(3)]
    with station.client("engineer") as client:
        answer = client.get(f"/api/v1/exports/{form}")
    assert answer.status_code == 200
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        # No spreadsheet computes what a camera sent.
        assert rows[0]["part"] == "'=1+1"
    else:
        io_module = pytest.importorskip("arro3.io")
        rows = io_module.read_parquet(io.BytesIO(answer.content)).read_all().to_struct_array().to_pylist()
        assert isinstance(rows[0]["score"], float)
    assert [row["id"] for row in rows] == ids
    assert {"score_position", "score_image"} <= set(rows[0])


def test_reviewed_parts_become_an_image_set_that_trains(station: Running, tmp_path: Path) -> None:
    from patchebm.images.folders import open_image_set

    verdicts = ["good", "good", "defective", "unsure", None]
    with station.client("engineer") as client:
        assert client.get("/api/v1/exports/mvtec").status_code == 404
        for index, verdict in enumerate(verdicts):
            part = station.push(png(index)).json()["id"]
            if verdict is not None:
                defect = "../../Scratch" if verdict == "defective" else ""
                body = {"verdict": verdict, "defect": defect}
                client.post(f"/api/v1/inspections/{part}/reviews", json=body)
        answer = client.get("/api/v1/exports/mvtec")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "set")
    image_set = open_image_set(tmp_path / "set" / "flange")
    assert len(image_set.train) == 2
    assert [image.path.parent.name for image in image_set.test] == ["scratch"]


def test_a_stream_tells_pages_of_each_part(served: Running) -> None:
    with served.client("operator") as client, client.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        part = served.push(png(0)).json()["id"]
        event = next(line for line in lines if line.startswith("data:"))
    assert part in event


def _other_bundle(bundle_file: Path) -> bytes:
    """The same model with another threshold: another bundle."""
    from patchebm.runtime.bundle import read_bundle, write_bundle

    bundle = read_bundle(bundle_file)
    card = bundle.card | {"threshold": bundle.card["threshold"] | {"value": 99.0}}
    target = bundle_file.with_name("other.patchebm")
    write_bundle(target, card, bundle.members)
    return target.read_bytes()
