"""This module tells when camera, light or product have changed, at a stated false-alarm probability."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from patchebm.errors import ConfigError
from patchebm.runtime.calibration import Calibration
from patchebm.station.statistics.martingale import JumperMartingale
from patchebm.station.statistics.ranks import RankCounts

# Probability that an alarm is ever raised while nothing changes.
FALSE_ALARM_PROBABILITY = 0.01

# What is watched, and how it is scaled to bins of width 1: a hundredth of a good part's standard deviation of
# the score (1 % of the score far from 0), a 4,000th of full brightness, 1 % of the sharpness.
SCALES: dict[str, Callable[[float], float]] = {
    "score": lambda score: 100 * math.asinh(score),
    "brightness": lambda brightness: 4000 * (brightness - 0.5),
    "sharpness": lambda variance: 100 * (math.log(max(variance, 1e-12)) + 10),
}


class Figures(NamedTuple):
    """This class is what is watched of a part: its score, and brightness and sharpness of its image."""

    score: float
    brightness: float
    sharpness: float


class DriftStep(NamedTuple):
    """This class is what one more part says.

    Attributes:
        p_value: rank of its score among calibration parts and all parts so far, in (0, 1).
        log_martingale: natural logarithm of the evidence for a change: the largest of the three martingales,
            divided by three.
        figure: whose martingale that is.
        alarm: whether the evidence has ever reached 1 / `false_alarm_probability`.
    """

    p_value: float
    log_martingale: float
    figure: str
    alarm: bool


class DriftTest:
    """This class tests, part by part, whether parts still come as if drawn in random order.

    Each of three figures has its ranks and its martingale; an alarm takes three times the evidence from one
    of them (Bonferroni's correction). While nothing changes, and parts are independent of each other, the
    probability that there is *ever* an alarm is at most `false_alarm_probability`, however many parts are
    seen (Ville 1939). Several images of one part are not independent: give it one image of each. The test
    says that something has changed, not what; after an alarm start a new one.

    Args:
        seed: decides how ties are broken; each part's chance follows from it and from the part's number.
        scores: of parts that stand for "as before". Without them, and for brightness and sharpness always,
            the first parts of the line are what later ones are compared with.
        false_alarm_probability: in (0, 1).

    Raises:
        ConfigError: a probability outside (0, 1), or scores that are not finite.

    Attributes:
        peak: largest `log_martingale` so far.
        figure: whose martingale raised the alarm; "" while there is none.
    """

    def __init__(
        self,
        seed: int,
        scores: Iterable[float] = (),
        false_alarm_probability: float = FALSE_ALARM_PROBABILITY,
    ) -> None:
        if not 0 < false_alarm_probability < 1:
            raise ConfigError(
                f"the drift test's false_alarm_probability {false_alarm_probability} is not between 0 and 1; "
                "use for instance 0.01"
            )
        self.seed = seed
        self.false_alarm_probability = false_alarm_probability
        self.peak = 0.0
        self.figure = ""
        self._ranks = {name: RankCounts() for name in SCALES}
        self._ranks["score"] = RankCounts(SCALES["score"](score) for score in scores)
        self._martingales = {name: JumperMartingale() for name in SCALES}

    @classmethod
    def against(
        cls, calibration: Calibration, seed: int, false_alarm_probability: float = FALSE_ALARM_PROBABILITY
    ) -> DriftTest:
        """Returns a test of parts against those that a model was calibrated on.

        Where calibration parts do not all count the same, for instance because some were shown by several
        images, their scores are not exchangeable with those of single parts; then the test starts without
        them. Arguments and errors as those of the class.
        """
        tail = calibration.tail
        alike = bool((tail.weights == 1).all())
        return cls(seed, tail.scores.tolist() if alike else (), false_alarm_probability)

    @property
    def parts(self) -> int:
        """Returns how many parts were tested."""
        return self._martingales["score"].parts

    @property
    def alarm(self) -> bool:
        """Says whether an alarm was raised, now or before."""
        return self.peak >= log_threshold(self.false_alarm_probability)

    def update(self, figures: Figures) -> DriftStep:
        """Tests the next part. Raises ConfigError for a figure that is not finite; then nothing changes."""
        if not all(map(math.isfinite, figures)):
            raise ConfigError(f"figures {tuple(figures)} of a part are not finite; check its image")
        chances = np.random.default_rng((self.seed, self.parts)).random(len(SCALES))
        p_values = [
            self._ranks[name].p_value(scale(figure), float(chance))
            for (name, scale), figure, chance in zip(SCALES.items(), figures, chances, strict=True)
        ]
        found = [
            (self._martingales[name].update(p_value), name)
            for name, p_value in zip(SCALES, p_values, strict=True)
        ]
        largest, name = max(found)
        evidence = largest - math.log(len(SCALES))
        if not self.alarm and evidence >= log_threshold(self.false_alarm_probability):
            self.figure = name
        self.peak = max(self.peak, evidence)
        return DriftStep(p_values[0], evidence, name, self.alarm)

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` takes, as JSON can hold it; its size does not grow with the parts."""
        return {
            "seed": self.seed,
            "false_alarm_probability": self.false_alarm_probability,
            "parts": self.parts,
            "peak": self.peak,
            "figure": self.figure,
            "figures": {
                name: {"log_stakes": self._martingales[name].log_stakes, "ranks": self._ranks[name].to_list()}
                for name in SCALES
            },
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> DriftTest:
        """Returns the test that `to_dict` wrote, which goes on as if it had not been stored.

        Raises:
            ValueError: a fact is missing or of another kind; says which.
        """
        try:
            test = cls(int(facts["seed"]), (), float(facts["false_alarm_probability"]))
            test.peak, test.figure = float(facts["peak"]), str(facts["figure"])
            for name in SCALES:
                figure = facts["figures"][name]
                test._ranks[name] = RankCounts.from_list(figure["ranks"])
                test._martingales[name] = JumperMartingale(figure["log_stakes"], int(facts["parts"]))
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        return test


def log_threshold(false_alarm_probability: float) -> float:
    """Returns the natural logarithm of the evidence at which an alarm is raised."""
    return -math.log(false_alarm_probability)
