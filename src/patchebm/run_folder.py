"""This module knows the name of every file in a run folder, and takes a run from its start to its end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from patchebm.errors import DataError
from patchebm.files import write_text
from patchebm.images.fingerprints import Fingerprints, load_fingerprints
from patchebm.images.folders import ImageSet
from patchebm.provenance import versions

CHECKPOINT = "last.ckpt"
"""What an interrupted training of one network goes on from; in the folder of that network."""

NEGATIVES = "negatives.png"
"""The latest images that a network was trained against; in the folder of that network."""


class RunFolder:
    """This class is the folder of one training run.

    | file | what it is |
    |---|---|
    | `config.yaml` | the configuration, for people and for `--config` |
    | `run.json` | the configuration, the hash of the images and, at the end, how the run was made |
    | `training_images.npz` | fingerprints of the training images |
    | `calibration_images.npz` | fingerprints of the images of `patchebm calibrate`, if there were any |
    | `training_scores.csv` | what training knows of each of its images, the oddest first |
    | `training.html` | the same as a page, with the oddest images and their anomaly maps |
    | `training/LEVEL/NETWORK/` | logs and the checkpoint of each network |
    | `model-HASH.safetensors`, `model.json` | the model; `model.json` is written last |
    | `evaluation/SET.json` | results of `patchebm evaluate`, a file for each image set |
    | `evaluation.json` | if a user put it there: results whose figures go into the card of a bundle |

    Args:
        path: of the folder, which need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.record_file = self.path / "run.json"
        self.fingerprints_file = self.path / "training_images.npz"
        self.calibration_file = self.path / "calibration_images.npz"
        self.scores_file = self.path / "training_scores.csv"
        self.page_file = self.path / "training.html"
        self.training = self.path / "training"
        self.card_file = self.path / "model.json"
        self.evaluations = self.path / "evaluation"
        self.figures_file = self.path / "evaluation.json"

    @property
    def is_finished(self) -> bool:
        """Returns whether the folder holds a model."""
        return self.card_file.exists()

    def tensors_file(self, sha256: str) -> Path:
        """Returns where the tensors of a model are kept, by the hash of their file."""
        return self.path / f"model-{sha256[:12]}.safetensors"

    def model_files(self) -> list[Path]:
        """Returns the files of the model, and of one that it replaces; the card comes first."""
        card = [self.card_file] if self.is_finished else []
        return card + sorted(self.path.glob("model-*.safetensors"))

    def results_file(self, image_set: str) -> Path:
        """Returns where the results on an image set are kept."""
        return self.evaluations / f"{image_set or 'set'}.json"

    def results_files(self) -> list[Path]:
        """Returns the files of all results that are there."""
        return sorted(self.evaluations.glob("*.json"))

    def training_of(self, number: int) -> Path:
        """Returns where a fit keeps checkpoints and logs; one that leaves images out again is another fit."""
        return self.training if number == 0 else self.path / f"training-{number + 1}"

    def keep_training_of(self, number: int) -> None:
        """Makes the logs of a fit those of the run, and deletes those of the others. The model is written."""
        if number:
            shutil.rmtree(self.training, ignore_errors=True)
            # Fits in closed form leave no logs.
            if self.training_of(number).exists():
                self.training_of(number).rename(self.training)
        for folder in self._further_trainings():
            shutil.rmtree(folder, ignore_errors=True)

    def _further_trainings(self) -> list[Path]:
        return [folder for folder in self.path.glob("training-*/") if folder.name[9:].isdigit()]

    def networks(self, level: str) -> list[Path]:
        """Returns the folders of the networks that were trained for a level."""
        return sorted(folder for folder in (self.training / level).glob("*/") if folder.is_dir())

    def logs(self, network: Path) -> list[Path]:
        """Returns the CSV logs in the folder of a network, in order: a resumed run writes a further part."""
        return sorted(network.glob("csv/part*/metrics.csv"), key=lambda file: int(file.parent.name[4:] or 0))

    def record(self) -> dict[str, Any]:
        """Returns what `run.json` says but for the configuration; nothing where there is no such file."""
        if not self.record_file.exists():
            return {}
        facts = json.loads(self.record_file.read_text(encoding="utf-8"))
        return {key: value for key, value in facts.items() if key != "config"}

    def clear(self) -> None:
        """Deletes what a run left in the folder, and nothing in a folder that holds no run."""
        if not self.record_file.exists():
            return
        # The card first and the record last: what is left of a clearing that was killed holds no model, and
        # can be cleared again.
        images = (self.fingerprints_file, self.calibration_file, self.scores_file, self.page_file)
        for file in (*self.model_files(), *images):
            file.unlink(missing_ok=True)
        for folder in (self.training, *self._further_trainings(), self.evaluations):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.config_file, self.record_file):
            file.unlink(missing_ok=True)

    def refuse_others(self) -> None:
        """Refuses a folder that no run can go into, before anything costly is done.

        Raises:
            DataError: the folder holds a finished run, or something else.
        """
        try:
            self._refuse_others()
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be a run folder ({error.strerror}); choose another --out"
            ) from error

    def begin(self, config: Any, data_sha256: str, decoding: dict[str, Any] | None = None) -> bool:
        """Claims the folder, or recognises an interrupted run of the same configuration and images.

        Args:
            config: a dataclass.
            data_sha256: the hash of every file that the run depends on.
            decoding: what the numbers of image files mean; see `Decoding.to_dict`.

        Returns:
            Whether an interrupted run goes on.

        Raises:
            DataError: the folder holds a finished or another run.
        """
        facts = {"config": asdict(config), "data_sha256": data_sha256, "decoding": decoding}
        try:
            return self._claim(facts)
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be a run folder ({error.strerror}); choose another --out"
            ) from error

    def _refuse_others(self) -> None:
        if self.is_finished:
            raise DataError(f"{self.path} holds a finished model; choose another --out or add --overwrite")
        # What a run that was killed in this very moment left behind does not count.
        files = [p for p in self.path.iterdir() if not p.name.endswith(".part")] if self.path.exists() else []
        if files and not self.record_file.exists():
            raise DataError(f"{self.path} is not empty and holds no run; choose a new folder for --out")

    def _claim(self, facts: dict[str, Any]) -> bool:
        self._refuse_others()
        if self.record_file.exists():
            try:
                before = json.loads(self.record_file.read_text(encoding="utf-8"))
                if not isinstance(before, dict):
                    raise ValueError("it holds no run")
            except ValueError as error:
                raise DataError(
                    f"{self.record_file} cannot be read ({error}); add --overwrite to start over"
                ) from error
            # Compared as JSON, in which tuples are lists.
            if {key: before.get(key) for key in facts} != json.loads(json.dumps(facts)):
                raise DataError(
                    f"{self.path} holds an interrupted run of another configuration or other images; "
                    "choose another --out or add --overwrite"
                )
            return True
        write_text(self.record_file, json.dumps(facts, indent=1) + "\n")
        readable = yaml.safe_dump(json.loads(json.dumps(facts["config"])), sort_keys=False)
        write_text(self.config_file, readable)
        return False

    def remember(self, fingerprints: Fingerprints) -> None:
        """Keeps fingerprints of the training images, unless an interrupted run did."""
        if not self.fingerprints_file.exists():
            fingerprints.save(self.fingerprints_file)

    def remember_calibration(self, fingerprints: Fingerprints | None, run: RunFolder) -> None:
        """Keeps fingerprints of what the model was calibrated on, and those of a run that it was copied from.

        Args:
            fingerprints: of the images of a calibration; None if there were none: an earlier one counts.
            run: that was calibrated.
        """
        if self.path.resolve() != run.path.resolve():
            for own, theirs in (
                (self.fingerprints_file, run.fingerprints_file),
                (self.calibration_file, run.calibration_file),
            ):
                if theirs.exists():
                    load_fingerprints(theirs).save(own)
        if fingerprints is not None:
            fingerprints.save(self.calibration_file)

    def finish(
        self, *, command: Sequence[str], seconds: float, image_set: ImageSet, images: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Completes `run.json` and returns `record`, for the model's card.

        Args:
            command: that trained.
            seconds: that training took.
            image_set: of the training images.
            images: how many were fitted on, as `images`, and what else is to be kept of them.
        """
        facts = json.loads(self.record_file.read_text(encoding="utf-8")) | {
            "command": list(command),
            "image_set": image_set.name,
            # Where export finds images to compare on.
            "root": str(image_set.root.resolve()),
            **images,
            "train_seconds": round(seconds, 1),
            "versions": versions(),
        }
        write_text(self.record_file, json.dumps(facts, indent=1) + "\n")
        return self.record()

    def drop_checkpoints(self) -> None:
        """Deletes the checkpoints of a finished run: there is nothing left to go on with."""
        for checkpoint in self.training.rglob(CHECKPOINT):
            checkpoint.unlink()
