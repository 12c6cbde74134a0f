"""What the configurations of all runs have in common."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, get_type_hints

from jsonargparse.typing import NonNegativeInt, OpenUnitInterval, PositiveInt

from patchebm.config.choice import Choice, Targeted
from patchebm.config.numbers import AtLeastTwo, PixelRate


@dataclass
class LevelConfig(Targeted):
    """Base of the configuration of a level; `target` names the class that fits it."""

    takes_few: ClassVar[bool] = False
    """Whether the level can be fitted on fewer than six images, down to one."""


@dataclass
class CalibrationConfig:
    """Which normal images are kept out of fitting, to calibrate on (cross-fitting).

    Args:
        folds: the good images are split in so many folds, by group where groups are known.
        members: how many of the folds are left out once each, with one energy fitted on the others. 1 is a
            plain hold-out; equal to `folds`, every good image serves both to fit and to calibrate.
        refit: the levels that score new images by one more energy, fitted on all good images, while the
            members calibrate only; else the score is the mean over the members, at that many times the cost.
        consecutive: where groups are not known, hold out images that follow each other (in order of their
            file names) together: they often show the same part, or were taken under the same light. Null does
            so where most images look most like a neighbour.
    """

    folds: AtLeastTwo = 4
    members: PositiveInt = 4
    refit: list[str] = field(default_factory=list)
    consecutive: bool | None = False


@dataclass
class RunConfig(Choice):
    """Base of the configuration of a run; its kinds are `features` and `pixels`.

    Args:
        kind: whether levels work on features or on pixels.
        seed: decides everything random.
        levels: which levels are fitted; several make an ensemble.
        false_alarm_rate: share of good parts that may be called anomalous.
        false_pixel_rate: share of the pixels of good parts that may be marked as a region.
        calibration: hold-out or cross-fitting.
    """

    seed: NonNegativeInt = 0
    levels: list[str] = field(default_factory=lambda: ["patch", "image"])
    false_alarm_rate: OpenUnitInterval = 0.05
    false_pixel_rate: PixelRate = 0.001
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    takes_devices: ClassVar[bool] = False
    """Whether its networks can be trained on several devices together."""

    @property
    def takes_few(self) -> bool:
        """Whether all levels can be fitted on fewer than six images, down to one."""
        return all(self.level(name).takes_few for name in self.levels)

    def level(self, name: str) -> Any:
        """Returns the configuration of a level by its name."""
        return getattr(self, name)

    @classmethod
    def level_names(cls) -> list[str]:
        """Returns the names of the levels that this kind of run has: its fields of the type `LevelConfig`."""
        hints = get_type_hints(cls)
        classes = {f.name: hints[f.name] for f in fields(cls) if is_dataclass(hints[f.name])}
        return [name for name, kind in classes.items() if issubclass(kind, LevelConfig)]
