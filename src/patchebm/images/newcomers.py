"""This module compares images with the profile of a model as they come in, and says once how they differ."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from patchebm.errors import ImageError
from patchebm.images.photo import Photo
from patchebm.images.profile import Profile, Traits, difference_sentence

WINDOW = 512
"""As many images are compared with the profile together; they are the latest."""

LATEST = 64
"""So many of the latest are compared by themselves, too, so that a change among many images is noticed."""

FIRST = 8
"""The first comparison, unless fewer images come; the next ones follow at twice the number."""

EVERY = 16
"""Once `WINDOW` images were looked at, each that many-th is, which costs next to nothing."""


class Newcomers:
    """This class takes the images that a model scores, and says in a sentence if they differ from its own.

    Each kind of difference is said once.

    Args:
        profile: of the model; None, as of models that know none, never speaks.
        say: takes the sentence.
    """

    def __init__(self, profile: Profile | None, say: Callable[[str], None]) -> None:
        self._profile = profile
        self._say = say
        self._traits: deque[Traits] = deque(maxlen=WINDOW)
        self._offered = self._taken = 0
        self._next = FIRST
        self._said: set[str] = set()

    def add(self, photo: Photo) -> None:
        """Takes an image that was scored, and speaks if it is time to."""
        if self._profile is None:
            return
        self._offered += 1
        if self._taken >= WINDOW and self._offered % EVERY:
            return
        try:
            self.take(Traits.of(photo))
        except ImageError:
            # Scored a moment ago and gone since: there is nothing to compare.
            return

    def take(self, traits: Traits) -> None:
        """Takes what is compared of an image, and speaks if it is time to."""
        self._traits.append(traits)
        self._taken += 1
        if self._taken >= self._next:
            self._next = self._taken + min(self._taken, LATEST)
            self.finish()

    def finish(self) -> None:
        """Speaks of what came in so far, if it differs in a way that was not said yet."""
        if self._profile is None or not self._traits:
            return
        everything = list(self._traits)
        for images in (everything[-LATEST:], everything):
            found = self._profile.differences(images)
            new = {name: words for name, words in found.items() if name not in self._said}
            if new:
                self._said |= set(new)
                self._say(difference_sentence(new, len(images)))
