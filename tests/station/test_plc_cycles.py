"""A station that is the client of a PLC: what it asks first, and that it goes on whatever fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from patchebm.station.outputs.base import Message
from patchebm.station.plc import cyclic
from patchebm.station.plc.cyclic import CyclicSender
from patchebm.station.plc.tags import PLC_TAGS, STATION_TAGS, length, unpack
from tests.station.running import wait_for
from tests.station.test_plc_news import RESULT, QuietLine


class Recorder:
    """A PLC that says nothing, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def open(self) -> None:
        """Nothing has to be opened."""

    def read(self) -> Sequence[int]:
        self.asked.append("read")
        return [0] * length(PLC_TAGS)

    def write(self, words: Sequence[int]) -> None:
        self.asked.append("done" if unpack(STATION_TAGS, words)["done"] else "write")

    def close(self) -> None:
        """Nothing has to be closed."""


class RecordedSender(CyclicSender):
    """An output to that PLC, with cycles that never end by themselves."""

    def __init__(self, plc: Recorder) -> None:
        super().__init__("s7", {"host": "127.0.0.1", "products": ["flange"], "cycle": 10.0}, (), 102)
        self._plc = plc

    def _connection(self) -> Any:
        return self._plc


@pytest.fixture
def plc() -> Recorder:
    return Recorder()


@pytest.fixture
def sender(plc: Recorder) -> Iterator[RecordedSender]:
    made = RecordedSender(plc)
    made.start(QuietLine(), "plc")  # type: ignore[arg-type]
    yield made
    made.close()


def test_a_result_is_written_before_the_plc_is_read_again(plc: Recorder, sender: RecordedSender) -> None:
    wait_for(lambda: plc.asked == ["read", "write"])
    sender.send(Message("key", "inspection", RESULT, 1))
    assert plc.asked[:3] == ["read", "write", "done"]


class FailingSender(RecordedSender):
    """The same output, whose library fails at the first attempt to make a connection."""

    def __init__(self, plc: Recorder) -> None:
        super().__init__(plc)
        self.attempts = 0

    def _connection(self) -> Any:
        self.attempts += 1
        if self.attempts == 1:
            raise ModuleNotFoundError("No module named 'snap7'")
        return super()._connection()


def test_an_output_goes_on_after_its_library_failed(plc: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    sender = FailingSender(plc)
    sender.start(QuietLine(), "plc")  # type: ignore[arg-type]
    try:
        wait_for(lambda: plc.asked[:2] == ["read", "write"])
    finally:
        sender.close()
    assert sender.attempts == 2
    assert "output plc failed" in caplog.text


class Broken(Recorder):
    """A PLC whose library fails at everything, also at letting go."""

    def open(self) -> None:
        self.asked.append("open")

    def read(self) -> Sequence[int]:
        raise ValueError("no PLC of this library")

    def close(self) -> None:
        raise RuntimeError("nothing to let go of")


def test_a_library_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cyclic, "RETRY", 0.01)
    plc = Broken()
    sender = RecordedSender(plc)
    sender.start(QuietLine(), "plc")  # type: ignore[arg-type]
    wait_for(lambda: len(plc.asked) > 2)
    assert "failed (ValueError)" in sender.state
    sender.close()
