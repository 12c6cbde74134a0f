"""This module notices a stream that is frozen or black, which goes on as if all were well."""

from __future__ import annotations

import hashlib

from patchebm.station.sources.frames import Frame
from patchebm.station.sources.options import Options

# Frames that must be the same, at least: a camera that is triggered gives few.
SAME = 3
# Seconds and mean, unless set.
FROZEN_AFTER, BLACK_BELOW = 10, 0.01


class FrameCheck:
    """This class finds black and frozen frames of a camera.

    Args:
        options: `frozen_after`, the seconds for which all frames are the same, to the last bit, before the
            stream counts as frozen; `black_below`, the mean in [0, 1] below which a frame is black. 0 turns
            either off.
    """

    def __init__(self, options: Options) -> None:
        self._frozen_after = options.number("frozen_after", FROZEN_AFTER, 0, 3600)
        self._black_below = options.number("black_below", BLACK_BELOW, 0, 1)
        self.restart()

    def restart(self) -> None:
        """Forgets the frames before, as after a new connection."""
        self._digest = b""
        self._since = 0.0
        self._same = 0

    def fault_of(self, frame: Frame) -> tuple[str, str]:
        """Returns what is wrong with a frame: a word and a sentence, both "" if nothing is."""
        digest = hashlib.blake2b(frame.pixels.tobytes(), digest_size=16).digest()
        if digest != self._digest:
            self._digest, self._since, self._same = digest, frame.time, 0
        self._same += 1
        if self._black_below and float(frame.pixels.mean()) / frame.white < self._black_below:
            return "black", "the picture is black; check the light, the lens cap and the exposure"
        for_seconds = frame.time - self._since
        if self._frozen_after and self._same >= SAME and for_seconds >= self._frozen_after:
            return "frozen", (
                f"the picture has been the same for {for_seconds:.0f} s, to the last bit; restart the "
                "camera, or set frozen_after to 0 if its picture never changes"
            )
        return "", ""
