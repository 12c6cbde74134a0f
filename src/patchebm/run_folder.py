"""A run folder: what was asked for, what it was made from, and whether it is finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from patchebm.config.schema import Config
from patchebm.errors import DataError
from patchebm.files import write_text
from patchebm.images.fingerprints import take_fingerprints
from patchebm.images.folders import ImageSet
from patchebm.provenance import data_hash, versions

# What the training images look like, so that an evaluation can tell whether it meets one again.
FINGERPRINTS = "training_images.npz"
# Results of evaluations, a file for each image set; see `patchebm.evaluation.results`.
EVALUATION = "evaluation"


class Run:
    """The folder of one training run: `config.yaml`, `run.json`, `training/`, and at last the model.

    `training_images.npz` holds fingerprints of the images, `evaluation/` what `patchebm evaluate` found.

    Args:
        folder: made by `begin`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clear(self) -> None:
        """Delete what a run left in the folder, and nothing in a folder that holds no run."""
        if not (self.folder / "run.json").exists():
            return
        # The card first: what is left of a clearing that was killed holds no model.
        model = [self.folder / "model.json", *self.folder.glob("model-*.safetensors")]
        others = [self.folder / name for name in (FINGERPRINTS, "config.yaml", "run.json")]
        for file in [*model, *others]:
            file.unlink(missing_ok=True)
        for name in ("training", EVALUATION):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def begin(self, config: Config, images: Sequence[Path], root: Path) -> bool:
        """Claim the folder, or recognise an interrupted run of the same configuration and images.

        Returns:
            Whether an interrupted run goes on.

        Raises:
            DataError: the folder holds a finished or another run.
        """
        facts = {"config": asdict(config), "data_sha256": data_hash(images, root)}
        try:
            return self._claim(facts)
        except OSError as error:
            raise DataError(
                f"{self.folder} cannot be a run folder ({error.strerror}); choose another --out"
            ) from error

    def _claim(self, facts: dict[str, Any]) -> bool:
        record = self.folder / "run.json"
        if (self.folder / "model.json").exists():
            raise DataError(f"{self.folder} holds a finished model; choose another --out or add --overwrite")
        if record.exists():
            try:
                before = json.loads(record.read_text(encoding="utf-8"))
                if not isinstance(before, dict):
                    raise ValueError("it holds no run")
            except ValueError as error:
                raise DataError(
                    f"{record} cannot be read ({error}); add --overwrite to start over"
                ) from error
            # Compared as JSON, in which tuples are lists.
            if {key: before.get(key) for key in facts} != json.loads(json.dumps(facts)):
                raise DataError(
                    f"{self.folder} holds an interrupted run of another configuration or other images; "
                    "choose another --out or add --overwrite"
                )
            return True
        # What a run that was killed in this very moment left behind does not count.
        if self.folder.exists() and any(not p.name.endswith(".part") for p in self.folder.iterdir()):
            raise DataError(f"{self.folder} is not empty and holds no run; choose a new folder for --out")
        write_text(record, json.dumps(facts, indent=1) + "\n")
        readable = yaml.safe_dump(json.loads(json.dumps(facts["config"])), sort_keys=False)
        write_text(self.folder / "config.yaml", readable)
        return False

    def remember(self, images: Sequence[Path], root: Path) -> None:
        """Keep fingerprints of the training images, unless an interrupted run did."""
        file = self.folder / FINGERPRINTS
        if not file.exists():
            take_fingerprints(images, root).save(file)

    def finish(
        self, *, command: Sequence[str], seconds: float, image_set: ImageSet, images: int
    ) -> dict[str, Any]:
        """Complete `run.json` and return it, for the model's card."""
        record = self.folder / "run.json"
        facts: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        facts |= {
            "command": list(command),
            "image_set": image_set.name,
            # Where export finds images to compare on.
            "root": str(image_set.root.resolve()),
            "images": images,
            "train_seconds": round(seconds, 1),
            "versions": versions(),
        }
        write_text(record, json.dumps(facts, indent=1) + "\n")
        return {key: value for key, value in facts.items() if key != "config"}
