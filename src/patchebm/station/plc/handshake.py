r"""This module is the station's side of the handshake with a PLC, whatever carries the tags.

    trigger   ____/~~~~~~~~~~~~~~~~~~\____________   PLC
    ready     ~~~~\_______________________/~~~~~~~   station
    busy      ____/~~~~~~~~~\_____________________   station
    done      ______________/~~~~~~~~~\___________   station; ok, ng, score and part_counter are valid
    acknowl.  ________________/= part_counter=====   PLC

A result waits until the PLC has acknowledged its number. Where either side was restarted, the numbers tell
what the other knows already: no part is inspected twice, and no result is taken twice or lost.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from patchebm.errors import ImageError, PatchebmError
from patchebm.station.arrival import Outcome
from patchebm.station.outputs.base import Failure, Line, Message
from patchebm.station.plc.tags import Errors, Value, Values

_log = logging.getLogger(__name__)

# Seconds between two beats.
BEAT = 0.5
# Seconds that a result is waited for to be acknowledged before `send` says so, and tries again.
PATIENCE = 1.0
# Seconds between two lines of the log on triggers that are left out.
QUIET = 10.0


class Handshake:
    """This class holds the tags of one output. Threads may share it.

    Args:
        name: of the output.
        products: names; a PLC knows them by their places, from 1.
        line: of the station.
        deadline: seconds after which a part that is still inspected stops the heartbeat.
    """

    def __init__(self, name: str, products: Sequence[str], line: Line, deadline: float) -> None:
        self._name = name
        self._products = list(products)
        self._line = line
        self._deadline = deadline
        self._changed = threading.Condition()
        self._product = 1
        self._trigger, self._seen = False, False
        self._busy_since: float | None = None
        self._error = Errors.NONE
        self._done = False
        self._result: dict[str, Value] = {}
        self._beats = 0
        self._trouble = "the station is starting"
        self._camera_trouble = ""
        self._last = ""
        self._last_waits = False
        self._left_out, self._said = 0, -QUIET
        self._news = 0
        self._orders: queue.SimpleQueue[tuple[str, str, str | None] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._beat, name=f"heartbeat-{name}", daemon=True),
            threading.Thread(target=self._inspect, name=f"trigger-{name}", daemon=True),
        ]

    def start(self) -> None:
        """Finds out which part was triggered last before a restart, and begins to take triggers."""
        last = self._line.last_triggered(self._name)
        if last is not None:
            self._last, self._last_waits = last.key, last.waits
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends both; from now on it is not ready."""
        self._stop.set()
        with self._changed:
            self._trouble = "the station is stopping"
            self._changed.notify_all()
        self._orders.put(None)

    @property
    def trouble(self) -> str:
        """Returns why the heartbeat stands, or no trigger can be taken; "" if all is well."""
        with self._changed:
            return self._trouble or self._camera_trouble

    @property
    def active_product(self) -> str:
        """Returns the product that the next trigger is inspected as."""
        with self._changed:
            return self._products[self._product - 1]

    def take(self, commands: Values) -> None:
        """Takes in what the PLC has written; called again with the same tags it does nothing."""
        with self._changed:
            if self._done and commands["acknowledged"] == self._result["part_counter"]:
                self._done = False
                self._changed.notify_all()
            number = int(commands["trigger_number"])
            trigger = bool(commands["trigger"])
            if not self._seen:
                # Whether a trigger without a number was inspected before a restart, nobody knows.
                before = number == 0 or number == _number(self._name, self._last)
                self._seen, self._trigger = True, trigger and before
                if trigger and before and self._last_waits and not self._done:
                    self._busy_since = time.monotonic()
            rises, falls = trigger and not self._trigger, self._trigger and not trigger
            self._trigger = trigger
            if falls:
                self._error = Errors.NONE
            wanted = int(commands["product_number"])
            known = wanted <= len(self._products)
            if wanted and known and self._busy_since is None:
                self._product = wanted
            if rises:
                self._fire(number, known=known)

    def job(self, part: str) -> int:
        """Has a part inspected without the tag `trigger`. Returns a value of `Errors`; 0 if it has begun."""
        with self._changed:
            if self._trigger or self._in_hand():
                self._say_left_out()
                return Errors.EARLY
            self._order(0, part)
            return Errors.NONE

    def choose(self, product: str) -> int:
        """Chooses the product of the next part. Returns a value of `Errors`; 0 if it is chosen."""
        with self._changed:
            if product not in self._products:
                return Errors.PRODUCT
            if self._busy_since is not None:
                return Errors.EARLY
            self._product = self._products.index(product) + 1
            return Errors.NONE

    def tags(self) -> dict[str, Value]:
        """Returns the station's tags as they are now."""
        with self._changed:
            idle = not (self._trigger or self._done) and self._busy_since is None
            return {
                **self._result,
                "ready": idle and not self._trouble and not self._camera_trouble,
                "busy": self._busy_since is not None,
                "done": self._done,
                "error": self._error != Errors.NONE,
                "error_code": self._error,
                "heartbeat": self._beats,
                "active_product": self._product,
            }

    def wait_for_news(self, known: int, seconds: float) -> int:
        """Waits for tags that have to be exchanged at once: a result, an error, or what the PLC has written.

        Args:
            known: how much news there had been; 0 at first.
            seconds: to wait at most.

        Returns:
            How much news there has been.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._news != known or self._stop.is_set(), seconds)
            return self._news

    def tell_news(self) -> None:
        """Says that the PLC has written something."""
        with self._changed:
            self._tell()

    def send(self, message: Message) -> Failure | None:
        """Shows a result until the PLC has acknowledged it. Returns None then; see `Sender.send`."""
        if message.number == 0:
            # Reviews are for people.
            return None
        with self._changed:
            if self._result.get("part_counter") != message.number:
                self._show(message)
            deadline = time.monotonic() + PATIENCE
            while self._done:
                left = deadline - time.monotonic()
                if left <= 0 or self._stop.is_set():
                    return Failure(f"the PLC has not acknowledged result {message.number} yet", False)
                self._changed.wait(left)
        return None

    def _show(self, message: Message) -> None:
        body, key = message.body, message.body.get("idempotency_key") or ""
        number = _number(self._name, key)
        self._result = {
            "part_counter": message.number,
            "result_trigger": number,
            "ok": body["verdict"] == "OK",
            "ng": body["verdict"] == "NG",
            "score": body["score"],
            "threshold": body["threshold"],
            "tail_probability": body["tail_probability"],
        }
        self._done = True
        self._tell()
        if key and key == self._last:
            self._busy_since, self._last_waits = None, False

    def _tell(self) -> None:
        self._news += 1
        self._changed.notify_all()

    def _fire(self, number: int, *, known: bool) -> None:
        if not known:
            self._error = Errors.PRODUCT
            return
        if number and number == _number(self._name, self._last):
            if self._last_waits:
                # It was inspected before a restart, and its result comes.
                self._busy_since = time.monotonic()
            elif not (self._done and self._result["result_trigger"] == number):
                self._error = Errors.REPEATED
            return
        if self._in_hand():
            self._error = Errors.EARLY
            self._say_left_out()
            return
        self._order(number, str(number) if number else "")

    def _in_hand(self) -> bool:
        """Says whether a part that the PLC triggered is not done with. Other results may come at any time."""
        return self._busy_since is not None or (self._done and self._result["result_trigger"] != 0)

    def _order(self, number: int, part: str) -> None:
        """Sends a part to the thread that triggers the camera."""
        key = f"{self._name}/{number}/{time.time_ns():x}"
        self._last, self._last_waits = key, True
        self._error = Errors.NONE
        self._busy_since = time.monotonic()
        self._orders.put((self._products[self._product - 1], part, key))

    def _inspect(self) -> None:
        while (order := self._orders.get()) is not None:
            product, part, key = order
            try:
                future = self._line.trigger(product, part, key)
            except PatchebmError as error:
                self._failed(error)
            # A camera fails in ways of its own; the next trigger must find this thread.
            except Exception as error:
                _log.exception("output %s: triggering failed", self._name)
                self._failed(error)
            else:
                future.add_done_callback(self._inspected)

    def _inspected(self, future: Future[Outcome]) -> None:
        error = future.exception()
        if error is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        _log.warning("output %s: part without a verdict: %s", self._name, error)
        with self._changed:
            self._busy_since = None
            self._last, self._last_waits = "", False
            unreadable = isinstance(error, ImageError)
            self._error = Errors.UNREADABLE if unreadable else Errors.UNAVAILABLE
            self._tell()

    def _say_left_out(self) -> None:
        self._left_out += 1
        if time.monotonic() - self._said > QUIET:
            _log.warning("output %s: %d triggers came too early", self._name, self._left_out)
            self._left_out, self._said = 0, time.monotonic()

    def _beat(self) -> None:
        """Beats while parts can be inspected. What hangs while it is asked stops the heartbeat, too."""
        while not self._stop.is_set():
            trouble = self._asked(self._line.trouble)
            camera = self._asked(self._line.camera_trouble)
            with self._changed:
                since = self._busy_since
                if since is not None and time.monotonic() - since > self._deadline:
                    trouble = trouble or f"a part is inspected for more than {self._deadline:g} s"
                if self._stop.is_set():
                    return
                self._trouble, self._camera_trouble = trouble, camera
                if not trouble:
                    self._beats = (self._beats + 1) % (1 << 16)
            self._stop.wait(BEAT)

    def _asked(self, ask: Any) -> str:
        try:
            return str(ask(self.active_product))
        # Whatever it is, the station cannot inspect.
        except Exception as error:
            return f"the station fails ({type(error).__name__})"


def _number(name: str, key: str) -> int:
    """Returns the trigger number in a key of this output, or 0."""
    words = key.rsplit("/", 2)
    return int(words[1]) if len(words) == 3 and words[0] == name and words[1].isdecimal() else 0
