"""This module sends records to a web address as they are written, in the background.

The journal is the queue: what is kept is only how far it was sent. A receiver that is down holds the queue
and nothing else; every record arrives at least once, with the same `Idempotency-Key` each time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from patchebm.errors import DataError, PatchebmError
from patchebm.files import write_text
from patchebm.line.journal import Journal
from patchebm.line.poster import Poster, Problem

# Times that a record is sent while the receiver answers with an error, before it is set aside for later.
ATTEMPTS = 5
# Records that may be set aside; from then on the queue waits.
MAX_SET_ASIDE = 1000
# Seconds between attempts: the first, doubled up to the second.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
# Seconds after which what was set aside is sent again.
SECOND_ROUND = 600.0
# Seconds between two writings of how far the journal was sent. What was sent since is repeated after SIGKILL.
SAVE_EVERY = 1.0


class Webhook:
    """This class sends the records of a journal, each as the JSON body of a POST.

    Args:
        url: of http or https; see `Poster`.
        journal: its records from the first use of a webhook on are sent, those of earlier runs included.
        timeout: seconds to wait for the receiver.
        say: takes messages.

    Raises:
        ConfigError: the address is none of http or https.
        DataError: the file that says how far the journal was sent is damaged.
    """

    def __init__(
        self, url: str, journal: Journal, *, say: Callable[[str], None], timeout: float = 10.0
    ) -> None:
        self._poster = Poster(url, "--webhook", timeout)
        self._host = self._poster.host
        self._journal = journal
        self._say = say
        self._file = journal.path.parent / "webhook.json"
        self._sent, self._set_aside = self._read()
        self._stop = threading.Event()
        self._news = threading.Event()
        self._failing = False
        self._saved_at = time.monotonic()
        # Kept at once, so that records are sent even if this process is killed before it sends any.
        self._save()
        # A daemon: a receiver that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def notify(self) -> None:
        """Says that the journal has grown."""
        self._news.set()

    def close(self, patience: float = 5.0) -> None:
        """Sends what can be sent within some seconds, and keeps how far that was."""
        deadline = time.monotonic() + patience
        while self._thread.is_alive() and not self._failing and time.monotonic() < deadline:
            if self._sent == self._journal.end:
                break
            time.sleep(0.02)
        self._stop.set()
        self._news.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._save()
        if self._sent < self._journal.end or self._set_aside:
            self._say(f"not all records have reached {self._host}; the others are sent after the next start")

    def _run(self) -> None:
        second_round = 0.0
        while not self._stop.is_set():
            self._news.clear()
            if self._set_aside and time.monotonic() >= second_round:
                self._retry_set_aside()
                second_round = time.monotonic() + SECOND_ROUND
            for end, line in self._journal.lines(self._sent):
                if self._stop.is_set() or not self._deliver(self._sent, line):
                    break
                self._sent = end
                self._save_now_and_then()
            self._save()
            self._news.wait(SECOND_ROUND)

    def _retry_set_aside(self) -> None:
        """Sends once more, and once each, what the receiver did not take."""
        for offset in list(self._set_aside):
            _, line = next(self._journal.lines(offset))
            if self._stop.is_set():
                return
            problem = self._post(line)
            if problem is None:
                self._set_aside.remove(offset)
                self._save_now_and_then()
            elif not problem.answered:
                return

    def _deliver(self, offset: int, line: bytes) -> bool:
        """Sends a record until it has arrived or is set aside. Returns False if this watcher stops before."""
        pause, attempts = FIRST_PAUSE, 0
        while (problem := self._post(line)) is not None:
            # No answer: the receiver is down, and the next record would fare no better. A bad answer may
            # come of this very record, which must not hold up the others for ever.
            attempts += problem.answered
            if attempts >= ATTEMPTS and len(self._set_aside) < MAX_SET_ASIDE:
                self._set_aside.append(offset)
                self._say(f"webhook: {self._host} refused a record {ATTEMPTS} times; it is sent again later")
                return True
            self._note(problem)
            if self._stop.wait(pause):
                return False
            pause = min(2 * pause, LONGEST_PAUSE)
        if self._failing:
            self._failing = False
            self._say(f"webhook: {self._host} takes records again")
        return True

    def _note(self, problem: Problem) -> None:
        if not self._failing:
            self._failing = True
            self._say(f"webhook: {self._host} {problem}; trying again in the background")

    def _post(self, line: bytes) -> Problem | None:
        """Sends a record once. Returns None if it has arrived."""
        return self._poster.post(line.rstrip(b"\n"), {"Idempotency-Key": str(json.loads(line)["id"])})

    def _read(self) -> tuple[int, list[int]]:
        """Returns how far the journal was sent, and the offsets of the lines that were set aside."""
        if not self._file.exists():
            return self._journal.end, []
        try:
            facts: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            sent, set_aside = int(facts["sent"]), [int(offset) for offset in facts["set_aside"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self._file} cannot be read ({error}); remove it to send only new records"
            ) from error
        # Beyond the end, the journal is another one than that which was sent.
        if not all(0 <= offset <= self._journal.end for offset in (sent, *set_aside)):
            raise DataError(
                f"{self._file} does not belong to {self._journal.path}; remove it to send only new records"
            )
        return sent, set_aside

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at >= SAVE_EVERY:
            self._save()

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        try:
            write_text(self._file, json.dumps({"sent": self._sent, "set_aside": self._set_aside}) + "\n")
        except PatchebmError as error:
            self._say(f"webhook: {error}")
