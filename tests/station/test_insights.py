"""Drift, rates, the queue, recalibration and pages, on a station that serves, with inspected parts."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from patchebm.errors import ConfigError
from patchebm.station.database.history import Inspection, Review
from patchebm.station.roles import COMMAND_LINE
from patchebm.station.services import drift, insights, models, options, products, reviews, shadow
from patchebm.station.services.options import Options
from patchebm.station.services.shifts import start_of
from tests.station.running import PASSWORD, Running, png

PAGES = (
    "/", "/line/flange", "/history", "/history?view=table&verdict=NG&shift=this", "/review", "/review?skip=3",
    "/rates", "/rates?product=flange", "/products/flange", "/products/flange/calibration",
    "/products/flange/calibration?method=rate&value=0.1", "/products/flange/drift", "/users", "/account",
    "/audit", "/products/flange/compare/1",
)  # fmt: skip


def light(image: bytes, gain: float) -> bytes:
    packed = io.BytesIO()
    pixels = np.asarray(Image.open(io.BytesIO(image)), dtype=np.float32) * gain
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(packed, "PNG")
    return packed.getvalue()


@pytest.fixture(scope="module")
def filled(served: Running) -> Running:
    """A station that inspected 24 parts, of which some are defective."""
    for i in range(24):
        image = png(i) if i % 6 else png(i, "scratch" if i % 12 else "deformed")
        assert served.push(image, part=f"F-{i:03d}").status_code == 201
    return served


@contextmanager
def browser(station: Running, name: str = "admin", **headers: str) -> Iterator[httpx.Client]:
    """A client that has signed in with a password, and asks for pages."""
    with station.client(None, headers={"Accept": "text/html"} | headers, follow_redirects=True) as client:
        assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 200
        yield client


def test_every_part_is_tested_for_drift_once(filled: Running) -> None:
    with filled.station.session() as session:
        state = drift.current(session, products.get(session, "flange"))
        assert state is not None
        rows = drift.recent(session, state)
        assert state.parts == len(rows) == 24
        assert all(row.p_value is not None and 0 < row.p_value < 1 for row in rows)
        assert rows[-1].log_martingale == pytest.approx(state.log_martingale)
        before = state.parts
    # A second image of a known part depends on the first, and is not tested.
    assert filled.push(png(60), part="F-003").status_code == 201
    with filled.station.session() as session:
        state = drift.current(session, products.get(session, "flange"))
        assert state is not None
        assert state.parts == before
        newest = session.scalars(select(Inspection).order_by(Inspection.id.desc())).first()
        assert newest is not None
        assert newest.p_value is None


@pytest.mark.parametrize("language", ["en", "ko", "de"])
def test_every_page_is_shown_in_every_language(filled: Running, language: str) -> None:
    with browser(filled, **{"Accept-Language": language}) as client:
        part = re.search(r"/parts/[0-9a-f-]{36}", client.get("/history").text)
        assert part
        for address in (*PAGES, part[0]):
            answer = client.get(address)
            assert answer.status_code == 200, address
            assert f'<html lang="{language}">' in answer.text
            assert not re.search(r'\son\w+="|\sstyle="|<script(?! type="module" src="/static/)', answer.text)


def test_names_from_outside_are_shown_as_text(filled: Running) -> None:
    name = "<img src=x onerror=alert(1)>"
    part = filled.push(png(70), part=name).json()["id"]
    with browser(filled) as client:
        for address in ("/line/flange", "/history", "/history?view=table", f"/parts/{part}"):
            text = client.get(address).text
            assert name not in text
            assert "&lt;img src=x" in text


def test_operators_see_no_engineers_pages(filled: Running) -> None:
    with browser(filled, "operator") as client:
        assert "/products/flange/calibration" not in client.get("/line/flange").text
        assert client.get("/products/flange/calibration").status_code == 403


def test_a_review_by_the_form_counts_and_leads_to_the_next_part(filled: Running) -> None:
    with filled.station.session(write=True) as session:
        options.change(session, COMMAND_LINE, {"review_share": 0.999})
    with browser(filled) as client:
        page = client.get("/review").text
        action = re.search(r'action="(/parts/([0-9a-f-]+)/reviews)"', page)
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert action
        assert token
        form = {"csrf_token": token[1], "verdict": "defective", "defect": "dent", "queue": "all"}
        answer = client.post(action[1], data=form)
        assert answer.url.path == "/review"
        assert action[2] not in re.findall(r'action="/parts/([0-9a-f-]+)/reviews"', answer.text)
    with filled.client() as client:
        part = client.get(f"/api/v1/inspections/{action[2]}").json()
    assert (part["review"], part["defect"]) == ("defective", "dent")


def test_reviews_of_the_random_sample_carry_their_probability(station: Running) -> None:
    for i in range(8):
        station.push(png(i))
    with station.station.session(write=True) as session:
        options.change(session, COMMAND_LINE, {"review_share": 0.999})
        parts = session.scalars(select(Inspection)).all()
        queue = insights.review_queue(session, None, 100)
        assert {one.id for one in queue if one.probability is not None} == {
            p.id for p in parts if not p.anomalous
        }
        for part in parts:
            reviews.add(session, COMMAND_LINE, part.id, "good")
        for review in session.scalars(select(Review)):
            part = session.get_one(Inspection, review.inspection_id)
            assert review.probability == (None if part.anomalous else 0.999)
        now = datetime.now(timezone.utc)
        rows = insights.weekly_rates(session, now, now + timedelta(seconds=1))
        assert [row.week is None for row in rows] == [True, False]
        total = rows[0]
        assert total.cell.ok + total.cell.ng == 8
        assert len(total.cell.sample) == total.cell.ok
        assert total.rates.misses is not None
        assert total.rates.misses.value == 0
        model = models.get(session, products.get(session, "flange"), 1)
        with pytest.raises(ConfigError, match="worth 8 parts"):
            insights.from_reviews(session, model, 0.1)


def test_a_change_of_the_light_raises_an_alarm_and_a_new_test_forgets_it(station: Running) -> None:
    for i in range(30):
        station.push(png(i))
    for i in range(30, 75):
        station.push(light(png(i), 0.8))
    with station.station.session() as session:
        state = drift.current(session, products.get(session, "flange"))
        assert state is not None
        assert state.alarm is not None
        alarmed_after = sum(row.time <= state.alarm for row in drift.recent(session, state))
        assert alarmed_after > 30
    with browser(station) as client:
        page = client.get("/products/flange/drift").text
        assert "Camera, light or product have changed." in page
        assert "Camera, light or product have changed." in client.get("/line/flange").text
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert token
        form = {"csrf_token": token[1], "compare": "line"}
        assert "have changed" not in client.post("/products/flange/drift", data=form).text


def test_another_version_inspects_the_last_parts_again_without_effect(filled: Running) -> None:
    found = shadow.compare(filled.station.session, filled.station.storage, "flange", 1, 10)
    assert len(found.rows) == 10
    # The same version says the same.
    assert found.changed == []
    for row in found.rows:
        assert row["other_score"] == pytest.approx(row["score"], abs=1e-4)


def test_a_comparison_counts_false_alarms_and_misses_of_both_versions() -> None:
    said = [("NG", "OK", "good"), ("NG", "NG", "good"), ("OK", "NG", "defective"), ("OK", "OK", None)]
    rows = tuple({"verdict": a, "other_verdict": b, "review": review} for a, b, review in said)
    found = shadow.Comparison(2, rows, unreadable=0)
    assert (found.false_alarms("verdict"), found.false_alarms("other_verdict")) == (2, 1)
    assert (found.misses("verdict"), found.misses("other_verdict")) == (1, 0)
    assert len(found.changed) == 2


def test_as_many_parts_are_compared_as_asked_for(filled: Running) -> None:
    with browser(filled) as client:
        assert "<dd>3</dd>" in client.get("/products/flange/compare/1", params={"parts": 3}).text
        assert client.get("/products/flange/compare/1", params={"parts": 10**6}).status_code == 422


def test_the_shift_is_the_one_that_began_last() -> None:
    chosen = Options(shifts="06:00 14:00 22:00")
    zone = timezone(timedelta(hours=9))
    assert start_of(chosen, datetime(2026, 5, 2, 15, tzinfo=zone)) == datetime(2026, 5, 2, 14, tzinfo=zone)
    assert start_of(chosen, datetime(2026, 5, 2, 1, tzinfo=zone)) == datetime(2026, 5, 1, 22, tzinfo=zone)
    assert start_of(chosen, datetime(2026, 5, 2, 6, tzinfo=zone)) == datetime(2026, 5, 2, 6, tzinfo=zone)
