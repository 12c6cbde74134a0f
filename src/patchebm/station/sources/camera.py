"""This module has the frames of a camera inspected at its triggers, and opens it again: `CameraSource`."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from concurrent.futures import Future
from functools import partial

from patchebm.errors import PatchebmError
from patchebm.station.arrival import Missed, Outcome
from patchebm.station.errors import UnavailableError
from patchebm.station.services import names
from patchebm.station.services.names import line
from patchebm.station.sources.base import Context
from patchebm.station.sources.frame_check import FrameCheck
from patchebm.station.sources.frames import Camera, Frame, FrameBroken
from patchebm.station.sources.keys import keyed_images
from patchebm.station.sources.options import Options
from patchebm.station.sources.triggers import FRAMES, SOFTWARE, Trigger, Triggers

_log = logging.getLogger(__name__)

# Seconds before a camera that went away is tried again: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
# Seconds for which a check waits for a frame.
PATIENCE = 2.0
# Parts on their way at most, unless set.
AHEAD = 4
# Characters of a part's name.
MOST = 128


class CameraSource:
    """This class is a source whose images a camera takes.

    Args:
        context: of the station.
        camera: gives frames.
        options: see `Triggers` and `FrameCheck`; `ahead`, the parts that may be on their way to their
            verdicts at once: those beyond are not inspected, and listed as missed.

    Raises:
        ConfigError: a setting cannot be.
    """

    def __init__(self, context: Context, camera: Camera, options: Options) -> None:
        self._context = context
        self._camera = camera
        self._triggers = Triggers(options)
        self._check = FrameCheck(options)
        self._room = threading.Semaphore(int(options.number("ahead", AHEAD, 1, 64)))
        options.finish()
        self._ready: queue.SimpleQueue[tuple[Frame, Trigger] | None] = queue.SimpleQueue()
        self._keyed = keyed_images(context)
        self._lock = threading.Lock()
        self._counts = {"inspected": 0, "missed": 0, "late": 0}
        self._running = False
        self._lost = "the camera is being opened"
        self._fault = ("", "")
        self._failure = ""
        self.frame: Frame | None = None
        """The newest frame; None before the first."""

    @property
    def cameras(self) -> dict[str, CameraSource]:
        """Returns the camera itself, for those who show all cameras of a source."""
        return {"": self}

    @property
    def state(self) -> str:
        """Returns one sentence on how it goes; "" if all is well."""
        return self._lost or self._fault[1] or self._failure

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many parts since the start were inspected, missed and late, and triggers bounced."""
        with self._lock:
            return self._counts | {"bounced": self._triggers.bounced}

    @property
    def takes_triggers(self) -> bool:
        """Says whether it waits for triggers from outside."""
        return self._triggers.kind == SOFTWARE

    def trigger(
        self, part: str = "", key: str | None = None, unjoined_id: uuid.UUID | None = None
    ) -> Future[Outcome]:
        """Has the next frame inspected.

        Args:
            part: what the line calls the part.
            key: `Idempotency-Key`, or None; see `Triggered.trigger`.
            unjoined_id: of a view; see `Inspector.receive`.

        Returns:
            What becomes of it, as of `Inspector.receive`.

        Raises:
            ConfigError: the name of the part or the key cannot be.
            ConflictError: the source has another trigger, one came just before (debounce), or another part
                came under the key.
            UnavailableError: the camera is away, which is listed, or too many triggers wait.
        """
        part = line(part, "part", MOST)
        if key is None:
            return self._trigger(part, None, unjoined_id)
        mark = (self._context.name, part)
        return self._keyed.once(names.key(key), mark, lambda: self._trigger(part, key, unjoined_id))

    def shorten_deadline(self, deadline: float) -> None:
        """Has parts wait for their frames no longer than those that are joined from them; see `Triggers`."""
        self._triggers.shorten(deadline)

    def _trigger(self, part: str, key: str | None, unjoined_id: uuid.UUID | None) -> Future[Outcome]:
        trigger = self._triggers.software(part, key, unjoined_id)
        if self._lost:
            self._refuse_waiting("away", self._lost)
        return trigger.outcome

    def check(self) -> str | None:
        """Returns one sentence on what is wrong, or None; opens the camera and takes a frame to see."""
        if self._running:
            return self.state or None
        try:
            self._camera.open()
            try:
                self._camera.fire()
                frame, until = None, time.monotonic() + PATIENCE
                # One that waits for a trigger of its own gives no frame, and is there all the same.
                while frame is None and time.monotonic() < until:
                    frame = self._camera.grab()
            finally:
                self._camera.close()
        except PatchebmError as error:
            return str(error)
        return (self._check.fault_of(frame)[1] or None) if frame is not None else None

    def run(self) -> None:
        """Brings images until it is told to stop."""
        self._running = True
        worker = threading.Thread(target=self._hand_over, name=f"frames-{self._context.name}")
        worker.start()
        pause = FIRST_PAUSE
        while not self._context.stop.is_set():
            try:
                self._camera.open()
                try:
                    self._check.restart()
                    while not self._context.stop.is_set():
                        self._turn()
                        pause = FIRST_PAUSE
                finally:
                    self._camera.close()
            except PatchebmError as error:
                self._away(str(error))
            # Drivers fail in ways of their own; the camera is tried again all the same.
            except Exception as error:
                _log.exception("source %s: the camera failed", self._context.name)
                self._away(f"the camera failed ({str(error) or type(error).__name__:.120})")
            self._context.stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._lost = "the source rests"
        self._refuse_waiting("away", "the source was turned off")
        self._ready.put(None)
        worker.join()
        self._running = False

    def _turn(self) -> None:
        """Takes one frame, and hands it over if a trigger asks for it."""
        now = time.monotonic()
        self._triggers.of_clock(now)
        for _ in self._triggers.to_fire(now):
            self._camera.fire()
        try:
            frame = self._camera.grab()
        except FrameBroken as error:
            broken = self._triggers.take(time.monotonic()) or self._triggers.of_frame(time.monotonic())
            if broken is not None:
                self._refuse(broken, "incomplete", str(error))
            return
        if self._lost:
            self._lost = ""
            _log.info("source %s: the camera is there", self._context.name)
        if frame is not None:
            before, self._fault = self._fault, self._check.fault_of(frame)
            self.frame = frame
            if self._fault[0] != before[0] and self._fault[0]:
                _log.warning("source %s: %s", self._context.name, self._fault[1])
                if self._triggers.kind == FRAMES:
                    # Of frames that come by themselves those that show nothing are no parts: listed once.
                    self._refuse(Trigger(), *self._fault)
            trigger = self._triggers.take(frame.time)
            if trigger is None and not self._fault[0]:
                trigger = self._triggers.of_frame(frame.time)
            if trigger is not None and self._fault[0]:
                self._refuse(trigger, *self._fault)
            elif trigger is not None:
                self._offer(frame, trigger)
        for trigger in self._triggers.overdue(time.monotonic()):
            self._count("late")
            self._refuse(trigger, "late", f"no frame came within deadline = {self._triggers.deadline:g} s")

    def _offer(self, frame: Frame, trigger: Trigger) -> None:
        if self._room.acquire(blocking=False):
            self._ready.put((frame, trigger))
        else:
            self._refuse(
                trigger,
                "queue_full",
                "parts come faster than the model inspects; trigger more slowly, or raise debounce",
            )

    def _hand_over(self) -> None:
        """Packs frames and hands them to the station: the camera is read meanwhile."""
        while (entry := self._ready.get()) is not None:
            frame, trigger = entry
            try:
                future = self._context.receive(
                    self._context.product,
                    self._context.name,
                    frame.png(),
                    part=trigger.part,
                    key=trigger.key,
                    unjoined_id=trigger.unjoined_id,
                )
            except Exception as error:
                future = Future()
                future.set_exception(error)
            future.add_done_callback(partial(self._inspected, trigger))

    def _inspected(self, trigger: Trigger, done: Future[Outcome]) -> None:
        self._room.release()
        took = time.monotonic() - trigger.time
        if self._triggers.deadline and took > self._triggers.deadline:
            self._count("late")
            _log.warning(
                "source %s: part %s took %.3f s, more than its deadline of %g s",
                self._context.name,
                trigger.part,
                took,
                self._triggers.deadline,
            )
        error = done.exception()
        if error is None:
            self._count("inspected")
            self._failure = ""
            trigger.outcome.set_result(done.result())
        else:
            # The inspector has listed it.
            self._count("missed")
            self._failure = str(error)
            trigger.outcome.set_exception(error)

    def _away(self, sentence: str) -> None:
        if sentence != self._lost:
            _log.warning("source %s: %s", self._context.name, sentence)
        self._lost = sentence
        self._refuse_waiting("away", sentence)

    def _refuse_waiting(self, reason: str, sentence: str) -> None:
        for trigger in self._triggers.all():
            self._refuse(trigger, reason, sentence)

    def _refuse(self, trigger: Trigger, reason: str, sentence: str) -> None:
        """Lists a part that is not inspected."""
        self._count("missed")
        self._context.miss(
            Missed(self._context.product_id, self._context.name, trigger.part, trigger.key, reason, sentence)
        )
        trigger.outcome.set_exception(UnavailableError(sentence))

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1
