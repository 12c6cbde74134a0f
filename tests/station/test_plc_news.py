"""What has to be exchanged with a PLC at once does not wait for the next cycle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from patchebm.errors import ImageError
from patchebm.station.outputs.base import Message
from patchebm.station.plc.handshake import Handshake

# Far longer than the test: who waits so long has not been told.
CYCLE = 60.0
RESULT = {"verdict": "OK", "score": 0.0, "threshold": 1.0, "tail_probability": 0.5, "idempotency_key": None}


class QuietLine:
    """A station whose camera never answers by itself."""

    folder = Path()

    def __init__(self) -> None:
        self.outcome: Future[Any] = Future()

    def last_triggered(self, name: str) -> None:
        """Nothing was triggered before."""

    def trouble(self, product: str) -> str:
        return ""

    camera_trouble = trouble

    def trigger(self, product: str, part: str, key: str | None) -> Future[Any]:
        return self.outcome


@pytest.fixture
def line() -> QuietLine:
    return QuietLine()


@pytest.fixture
def handshake(line: QuietLine) -> Iterator[Handshake]:
    made = Handshake("plc", ["flange"], line, deadline=600)  # type: ignore[arg-type]
    made.start()
    yield made
    made.stop()


def waiting(handshake: Handshake) -> tuple[threading.Thread, list[int]]:
    """A thread that waits for news as an output does, and what it was told."""
    told: list[int] = []
    thread = threading.Thread(target=lambda: told.append(handshake.wait_for_news(0, CYCLE)))
    thread.start()
    return thread, told


def test_a_result_ends_the_wait(handshake: Handshake) -> None:
    thread, told = waiting(handshake)
    sender = threading.Thread(target=lambda: handshake.send(Message("1", "inspection", RESULT, 1)))
    sender.start()
    thread.join(CYCLE / 2)
    assert told == [1]
    assert handshake.tags()["done"]
    handshake.stop()
    sender.join()


def test_an_error_ends_the_wait(handshake: Handshake, line: QuietLine) -> None:
    thread, told = waiting(handshake)
    assert handshake.job("") == 0
    line.outcome.set_exception(ImageError("the image is black"))
    thread.join(CYCLE / 2)
    assert told == [1]
    assert handshake.tags()["error"]


def test_what_the_plc_wrote_and_a_stop_end_the_wait(handshake: Handshake) -> None:
    thread, told = waiting(handshake)
    handshake.tell_news()
    thread.join(CYCLE / 2)
    assert told == [1]
    # Who knows that waits on, until the station stops.
    other = threading.Thread(target=lambda: told.append(handshake.wait_for_news(1, CYCLE)))
    other.start()
    handshake.stop()
    other.join(CYCLE / 2)
    assert told == [1, 1]
