"""FLEET.yaml: products with folders and options of their own; what cannot work is said by name."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

pytest.importorskip("pyarrow", reason="the extra `scale` is not installed")

from patchebm.cli.main import main
from tests.failing import failure
from tests.tiny import write_good


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_products_have_options_of_their_own(tiny_yaml: Path, tmp_path: Path) -> None:
    write_good(tmp_path / "plant" / "left" / "okay", 8)
    write_good(tmp_path / "elsewhere", 8)
    (tmp_path / "plant" / "tiny.yaml").write_text(tiny_yaml.read_text())
    file = tmp_path / "plant" / "FLEET.yaml"
    first = {"name": "first", "folder": "left", "good": ["okay"], "config": "tiny.yaml", "seed": 3}
    second = {"name": "second", "folder": str(tmp_path / "elsewhere"), "config": "tiny.yaml"}
    second |= {"false_alarm_rate": 0.2, "calibration": {"members": 3}, "skip_bad": True}

    def train() -> dict[str, dict[str, str]]:
        file.write_text(yaml.safe_dump({"products": [first, second]}))
        assert main(["fleet", "train", str(file), "--out", str(tmp_path / "out"), "--seed", "5"]) == 0
        with (tmp_path / "out" / "fleet.csv").open() as table:
            return {row["product"]: row for row in csv.DictReader(table)}

    def config(name: str) -> dict:
        return yaml.safe_load((tmp_path / "out" / name / "run" / "config.yaml").read_text())

    found = train()
    assert list(found) == ["first", "second"]
    assert {row["error"] for row in found.values()} == {""}
    assert [config(name)["seed"] for name in found] == [3, 5]
    assert [config(name)["calibration"]["members"] for name in found] == [2, 3]
    assert [float(row["false_alarm_rate"]) for row in found.values()] == [0.05, 0.2]
    models = [tmp_path / "out" / name / "part.patchebm" for name in found]
    before = [model.stat().st_mtime_ns for model in models]
    # Another option of one product concerns that one alone.
    second["false_alarm_rate"] = 0.3
    assert [float(row["false_alarm_rate"]) for row in train().values()] == [0.05, 0.3]
    changed = [model.stat().st_mtime_ns != time for model, time in zip(models, before, strict=True)]
    assert changed == [False, True]


GOOD = {"name": "a", "folder": "a"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "products must be a list of products, each with name and folder"),
        ({"product": [GOOD]}, "has an unknown key 'product' (did you mean 'products'?)"),
        ({"products": [GOOD], "extends": "features"}, "has an unknown key 'extends'"),
        ({"products": ["a"]}, "product 1 is 'a'; it must have the keys name and folder"),
        ({"products": [GOOD, {"name": "b"}]}, "product 2 has no key folder; add it"),
        (
            {"products": [{"name": 7, "folder": "a"}]},
            "product 1: name is 7, which is no text; put it in quotes",
        ),
        ({"products": [GOOD | {"name": "../a"}]}, "name is '../a', and a folder cannot be called so"),
        ({"products": [GOOD, GOOD | {"name": "A"}]}, "'A' and 'a' are the names of two products"),
        (
            {"products": [GOOD | {"presett": "x"}]},
            "product 'a' has an unknown key 'presett' (did you mean 'preset'?)",
        ),
        (
            {"products": [GOOD | {"preset": "feature"}]},
            "product 'a': there is no preset 'feature' (did you mean 'features'?)",
        ),
        ({"products": [GOOD | {"out": "x"}]}, "product 'a' has an unknown key 'out'"),
        ({"products": [GOOD | {"calibration": {"membrs": 3}}]}, "(did you mean '--calibration.members'?)"),
        ({"products": [GOOD | {"good": "ok"}]}, "product 'a': good is 'ok'; give a list of names of folders"),
        ({"products": [GOOD | {"drop_outliers": "some"}]}, "product 'a': --drop-outliers is some"),
    ],
)
def test_what_cannot_work_is_said_by_name(
    content: dict, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "FLEET.yaml"
    file.write_text(yaml.safe_dump(content))
    message = failure(capsys, "fleet", "train", str(file), "--out", str(tmp_path / "out"))
    assert str(file) in message
    assert sentence in message
    assert not (tmp_path / "out").exists()


def test_some_products_and_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "FLEET.yaml"
    command = ["fleet", "train", str(file), "--out", str(tmp_path / "out")]
    assert "FLEET.yaml cannot be read" in failure(capsys, *command)
    file.write_text(yaml.safe_dump({"products": [GOOD | {"name": "first"}]}))
    assert "has no product 'frist' (did you mean 'first'?)" in failure(
        capsys, *command, "--products", "frist"
    )
    assert not (tmp_path / "out").exists()
