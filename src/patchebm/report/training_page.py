"""This module shows what training found among its images: as a table, on a page and in sentences."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.files import as_unicode, write_text
from patchebm.images.folders import ImageFile, ImageSet
from patchebm.images.photo import Photo
from patchebm.images.taking import Copies
from patchebm.provenance import name_below
from patchebm.report.charts import score_figure
from patchebm.report.gallery import shrunk
from patchebm.report.page import write_page
from patchebm.report.table import Table
from patchebm.report.training_log import training_figures
from patchebm.run_folder import RunFolder
from patchebm.runtime.overlay import heat_overlay, side_by_side

if TYPE_CHECKING:
    from patchebm.detector.detector import EnsembleDetector
    from patchebm.detector.dropping import Dropping

SHOWN = 12
"""As many of the oddest images are shown, after those that were left out."""

NAMED = 5
"""As many images are named in a sentence."""


@dataclass(frozen=True)
class ScoreRow:
    """This class is what is known of one training image.

    Attributes:
        name: below the folder of the set.
        path: of the file.
        score: held out; of one that was left out, by the final model; None if it was only fitted on.
        tail_probability: the share of good parts that score at least this high.
        levels: the score of each level; empty where there is no score.
        fold: in which it was held out.
        group: the physical part that it shows, if known.
        stands_apart: whether no good part would be expected to score so.
        left_out: whether the model was fitted without it.
        copy_of: the image that it is a copy of, or "".
        anomaly_map: `(H, W)` float32, of the oddest.
    """

    name: str
    path: Path
    score: float | None = None
    tail_probability: float | None = None
    levels: Mapping[str, float] | None = None
    fold: int | None = None
    group: str | None = None
    stands_apart: bool = False
    left_out: bool = False
    copy_of: str = ""
    anomaly_map: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class OddImage:
    """This class is a training image to be shown: the image, and its anomaly map over it."""

    row: ScoreRow
    image: Image.Image


@dataclass(frozen=True)
class TrainingReport:
    """This class holds what training found among its images.

    Attributes:
        image_set: of the images.
        detector: fitted to them.
        rows: of all images, the oddest first.
        sentences: what a user has to know; may be empty.
    """

    image_set: ImageSet
    detector: EnsembleDetector
    rows: Sequence[ScoreRow]
    sentences: Sequence[str]

    @classmethod
    def of(
        cls,
        detector: EnsembleDetector,
        image_set: ImageSet,
        good: Sequence[ImageFile],
        dropping: Dropping,
        copies: Copies,
    ) -> TrainingReport:
        """Returns what is to be told of a fit.

        Args:
            detector: fitted.
            image_set: of the images.
            good: the images that were fitted on at first, copies left out.
            dropping: which of these were left out.
            copies: of all images that could be read.
        """
        held_out, tail = detector.held_out_, detector.tail_
        apart = set(held_out.outliers().indices)
        rows = []
        scored = {int(index): row for row, index in enumerate(held_out.indices)}
        for index, number in enumerate(dropping.kept):
            image = good[number]
            name = name_below(image.path, image_set.root)
            if index not in scored:
                rows.append(ScoreRow(name, image.path, group=image.group))
                continue
            row = scored[index]
            score = float(held_out.scores[row])
            rows.append(
                ScoreRow(
                    name,
                    image.path,
                    score,
                    tail.probability(score),
                    {level: float(values[row]) for level, values in held_out.levels.items()},
                    int(held_out.folds[row]),
                    image.group,
                    stands_apart=index in apart,
                    anomaly_map=held_out.maps.get(index),
                )
            )
        for left_out in dropping.left_out:
            image = good[left_out.index]
            (found,) = detector.predict([Photo(image.path, detector.decoding_)])
            rows.append(
                ScoreRow(
                    name_below(image.path, image_set.root),
                    image.path,
                    found.score,
                    found.tail_probability,
                    found.levels,
                    group=image.group,
                    stands_apart=found.anomalous,
                    left_out=True,
                    anomaly_map=found.heat_map,
                )
            )
        rows.sort(key=lambda one: -np.inf if one.score is None else one.score, reverse=True)
        rows += [
            ScoreRow(name, image_set.root / name, copy_of=original)
            for name, original in copies.copies.items()
        ]
        return cls(image_set, detector, rows, _sentences(detector, rows, dropping))

    def table(self) -> Table:
        """Returns a row for each image, to be written as CSV."""
        levels = list(self.detector.levels_)
        header = ["file", "score", "tail_probability", *(f"{name}_score" for name in levels)]
        rows = [
            [
                as_unicode(row.name),
                row.score,
                row.tail_probability,
                *((row.levels or {}).get(name) for name in levels),
                row.fold,
                row.group,
                row.stands_apart,
                row.left_out,
                as_unicode(row.copy_of),
            ]
            for row in self.rows
        ]
        columns = [*header, "fold", "group", "stands_apart", "left_out", "copy_of"]
        return Table("training images", columns, rows)

    def write_table(self, run: RunFolder) -> None:
        """Writes the table into a run folder. Raises PatchebmError if it cannot be written."""
        write_text(run.scores_file, self.table().csv())

    def write_page(self, run: RunFolder, record: Mapping[str, Any]) -> None:
        """Writes the page into a run folder, beside the logs of the fit that counts.

        Args:
            run: the folder.
            record: what `RunFolder.record` says.

        Raises:
            PatchebmError: a file cannot be written.
            ImageError: an image has become unreadable.
        """
        scores = {
            "held out": [row.score for row in self.rows if row.score is not None and not row.left_out],
            "left out": [row.score for row in self.rows if row.score is not None and row.left_out],
        }
        threshold = self.detector.threshold_
        write_page(
            run.page_file,
            "training.html",
            title=f"{as_unicode(self.image_set.name)}: training",
            sentences=[as_unicode(sentence) for sentence in self.sentences],
            threshold=threshold,
            chart=score_figure(scores, threshold.value),
            gallery=[self._shown(row) for row in self._oddest()],
            training=training_figures(run, list(self.detector.levels_)),
            profile=record["profile"],
            about=self._about(),
            record=record,
            shell=shlex.join,
        )

    def _about(self) -> list[str]:
        """Returns sentences on what is inspected, and on what the model can be expected to find."""
        sentences = []
        if self.detector.inspected is not None:
            sentences.append(f"The model {self.detector.inspected}.")
        if (reason := self.detector.size_reason) is not None:
            sentences.append(f"{reason[0].upper()}{reason[1:]}.")
        if self.detector.variations_ is not None:
            said = self.detector.variations_.describe()
            sentences.append(f"{said[0].upper()}{said[1:]}.")
        expected, threshold = self.detector.expectation(), self.detector.threshold_
        if expected is not None:
            sentences.append(f"{expected[0].upper()}{expected[1:]}.")
            if threshold.extrapolated:
                rate = threshold.shown_rate
                shown = self.detector.at_false_alarm_rate(rate).expectation()
                sentences.append(
                    f"The smallest rate that so many good images show is about {rate:g}: {shown}."
                )
        return sentences

    def _oddest(self) -> list[ScoreRow]:
        mapped = [row for row in self.rows if row.anomaly_map is not None]
        left_out = [row for row in mapped if row.left_out]
        return (left_out + [row for row in mapped if not row.left_out])[: len(left_out[:SHOWN]) + SHOWN]

    def _shown(self, row: ScoreRow) -> OddImage:
        pixels = Photo(row.path, self.detector.decoding_).pixels
        small = np.stack([shrunk(pixels[..., i]) for i in range(pixels.shape[2])], axis=2).clip(0, 1)
        assert row.anomaly_map is not None
        size = (small.shape[1], small.shape[0])
        resized = Image.fromarray(row.anomaly_map).resize(size, Image.Resampling.BILINEAR)
        anomaly_map = np.asarray(resized, dtype=np.float32)
        low, high = self.detector.heat_range(anomaly_map)
        overlay = heat_overlay(small, anomaly_map, low=low, high=high)
        return OddImage(row, side_by_side(small, overlay, None))


def _sentences(detector: EnsembleDetector, rows: Sequence[ScoreRow], dropping: Dropping) -> list[str]:
    sentences = []
    if left_out := [row for row in rows if row.left_out]:
        fits = dropping.rounds
        sentences.append(
            f"left out {len(left_out)} of {len(left_out) + len(dropping.kept)} training images after "
            f"{fits - 1} fit{'s' if fits > 2 else ''}: {_names(left_out)}; the model does not know them"
        )
    if apart := [row for row in rows if row.stands_apart and not row.left_out]:
        threshold = detector.threshold_
        held_out = detector.held_out_
        without = held_out.threshold_without(held_out.outliers().indices, threshold.false_alarm_rate)
        many = "further images stand" if left_out else "training images stand"
        one = "further image stands" if left_out else "training image stands"
        advice = (
            "more than --drop-outliers auto leaves out; check them by hand"
            if dropping.more
            else "check them in training.html, and leave out defects with --drop-outliers auto"
        )
        sentences.append(
            f"warning: {len(apart)} {one if len(apart) == 1 else many} apart from the others, as defects "
            f"among good parts do: {_names(apart)}; without {'it' if len(apart) == 1 else 'them'} the "
            f"threshold would be {without.value:.2f} and not {threshold.value:.2f}; {advice}"
        )
    return sentences


def _names(rows: Sequence[ScoreRow]) -> str:
    names = [f"{row.name} (score {row.score:.1f})" for row in rows[:NAMED]]
    return ", ".join(names) + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")
