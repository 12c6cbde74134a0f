"""The benchmark of the thesis: runs that go on where they stopped, and tables of what its log says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.thesis import diagnosis
from benchmarks.thesis.__main__ import UNFINISHED, main
from benchmarks.thesis.runs import one_run
from benchmarks.thesis.tables import results, tables
from benchmarks.thesis.variants import CHANGES, SAME_TRAINING, configuration
from patchebm.images.folders import open_image_set
from tests.tiny import write_set


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_that_was_stopped_goes_on_and_is_not_repeated(tmp_path: Path) -> None:
    write_set(tmp_path / "data")
    words = [
        "--data",
        f"{tmp_path / 'data'}",
        "--sets",
        "flange",
        "--seeds",
        "0",
        "--out",
        f"{tmp_path / 'out'}",
    ]
    words += ["--quick", "--device", "cpu", "--variants", "thesis-small", "positions standardised"]
    # In a process of its own: where the time ends amid an import, that module is broken from then on.
    stopped = subprocess.run([sys.executable, "-m", "benchmarks.thesis", *words, "--minutes", "0.01"])
    assert stopped.returncode == UNFINISHED
    assert [row["variant"] for row in logged(tmp_path / "out")] in ([], ["controls"])
    assert main(words) == 0
    assert main(words) == 0
    controls, row, twin = logged(tmp_path / "out")
    assert controls["variant"] == "controls"
    # The second variant only scores otherwise: its training is the first one's.
    assert twin["variant"] == "positions standardised"
    assert "step_seconds" not in twin
    assert twin["chains"] == row["chains"]
    assert (row["set"], row["variant"], row["seed"], row["steps"]) == ("flange", "thesis-small", 0, 5)
    assert set(row["levels"]) == set(row["oracle"]) == {"patch", "image", "ensemble"}
    assert row["rollbacks"] == 0
    assert row["step_cpu_seconds"] > 0
    assert set(row["held_out"]) == {"patch", "image", "ensemble"}
    assert all(0 <= one["auroc"] <= 1 for one in row["held_out"].values())
    # Without its log, which is not committed, it neither loses a run nor repeats one.
    lines = (tmp_path / "out" / "log.jsonl").read_bytes()
    (tmp_path / "out" / "log.jsonl").unlink()
    assert main(words) == 0
    assert (tmp_path / "out" / "log.jsonl").read_bytes() == lines
    assert json.loads((tmp_path / "out" / "results.json").read_text())["full_size"].startswith("not run")
    assert "| thesis-small ensemble | " in (tmp_path / "out" / "table.md").read_text()


def test_every_variant_is_a_configuration() -> None:
    """Those that train have one length, and each differs from the recipe."""
    recipe = configuration("thesis-small", 0, 40)
    for variant in CHANGES:
        config = configuration(variant, 0, 40)
        assert (config == recipe) == (variant == "thesis-small")
        for name in config.levels:
            network = config.level(name).network
            if variant.startswith("Gaussian alone"):
                assert network is None
            else:
                assert network.training.steps == (0 if variant.startswith("untrained") else 40)
    for variant, twin in SAME_TRAINING.items():
        config, other = configuration(variant, 0, 40), configuration(twin, 0, 40)
        assert config != other
        for name in other.levels:
            assert config.level(name).network == other.level(name).network
            assert config.level(name).base == other.level(name).base
    own = configuration("image-baseline", 0, None).level("image").network
    small = configuration("thesis-small", 0, None).level("image").network
    assert (own.depth, own.width) == (small.depth, small.width)
    assert own.training == small.training.__class__(
        **{**vars(small.training), "data_noise": 0.03, "weight_decay": small.training.weight_decay}
    )


def made_up(variant: str, name: str, seed: int, steps: int, **levels: float) -> dict[str, Any]:
    """A row as the benchmark logs it."""
    chains = {"distance": 0.1, "gradient_norm": 0.2, "gap": -0.3, "largest_gap": 4.0}
    return {
        "set": name,
        "variant": variant,
        "seed": seed,
        "steps": steps,
        "chains": {level: chains for level in levels if level != "ensemble"},
        "rollbacks": seed,
        "step_cpu_seconds": 0.5,
        "levels": levels,
        "oracle": {level: value - 0.1 for level, value in levels.items()},
        "device": "cpu",
    }


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    found = []
    for seed in (0, 1):
        found.append(
            made_up("thesis-small", "bottle", seed, 40, patch=0.6, image=0.7, ensemble=0.8 + seed / 10)
        )
        found.append(made_up("image-baseline", "bottle", seed, 40, image=0.5))
    found.append(made_up("thesis-small", "screw", 0, 40, patch=0.6, image=0.7, ensemble=0.1))
    found.append(made_up("thesis-small", "bottle", 0, 80, patch=0.6, image=0.7, ensemble=0.9))
    found.append(made_up("no batch norm", "bottle", 0, 40, patch=0.1, image=0.2, ensemble=0.3))
    given_up = made_up("SGLD, as far", "bottle", 0, 40, patch=0.1)
    del given_up["levels"], given_up["oracle"]
    # The other level was not reached.
    given_up["chains"]["image"] = {}
    found.append(made_up("no noise on data, image level alone", "bottle", 0, 40, image=0.4))
    return [*found, {**given_up, "diverged": "the energy diverged 6 times, last at step 5"}]


def test_points_are_counted_over_what_both_have(rows: list[dict[str, Any]]) -> None:
    found = results(rows)["lengths"]
    assert list(found) == ["80", "40"]
    # Of screw there is no baseline.
    assert found["40"]["points"] == {
        "ours": pytest.approx(0.85),
        "baseline": 0.5,
        "points": pytest.approx(35),
        "sets": ["bottle"],
        "seeds": [0, 1],
        "pairs": 2,
    }
    assert found["40"]["oracle_points"]["ours"] == pytest.approx(0.75)
    assert found["40"]["oracle_points"]["points"] == pytest.approx(35)
    assert found["80"]["points"] == found["80"]["oracle_points"] == {}


def test_rows_of_trainings_that_were_given_up_hold_their_roll_backs(rows: list[dict[str, Any]]) -> None:
    (given_up,) = (row for row in results(rows)["runs"] if "diverged" in row)
    assert given_up["rollbacks"] == 5


def test_a_training_that_is_given_up_before_its_first_checkpoint_counts_its_roll_backs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHANGES, "far too fast", {"patch": {"network": {"training": {"lr": 1e6}}}})
    image_set = open_image_set(write_set(tmp_path / "data"))
    row = one_run(image_set, "far too fast", 0, steps=20, folder=tmp_path / "run", device="cpu")
    assert "diverged 6 times" in row["diverged"]
    assert row["rollbacks"] == 5
    assert not list((tmp_path / "run").rglob("last.ckpt"))


def test_the_diagnosis_notes_the_gap_in_the_loss_and_the_gap_in_scores(tmp_path: Path) -> None:
    write_set(tmp_path / "data")
    words = ["--data", f"{tmp_path / 'data'}", "--sets", "flange", "--steps", "2", "--device", "cpu"]
    diagnosis.main([*words, "--out", f"{tmp_path}"])
    gaps = json.loads((tmp_path / "diagnosis.json").read_text())["gaps"]
    before, now = gaps["before the fix"], gaps["as it is"]
    assert len(before) == len(now) == 2
    # Today the energy in the loss is the one that scores; before, it was another function.
    assert all(loss == pytest.approx(scored, abs=1e-6) for loss, scored in now)
    assert all(abs(loss - scored) > 1e-4 for loss, scored in before)
    assert "| 1 to 2 | " in (tmp_path / "diagnosis.md").read_text()


def test_tables_keep_lengths_apart_and_name_what_gave_up(rows: list[dict[str, Any]]) -> None:
    found = tables(rows)
    longest, shorter = found["table.md"].split("**40 steps**")
    assert "0.900" in longest
    assert "image-baseline" not in longest
    auroc, oracle = shorter.split("| oracle balanced accuracy |")
    assert "| thesis-small ensemble | 0.850 ± 0.071 |" in auroc
    assert "| thesis-small ensemble | 0.750 ± 0.071 |" in oracle
    assert "| no batch norm | 0.100 | 0.200 | 0.300 | 0.200 | 0.50 |" in found["ablation.md"]
    assert "| SGLD, as far | – | – | – | – | 0.50 |" in found["ablation.md"]
    assert "| no noise on data, image level alone | – | 0.400 | – | – | 0.50 |" in found["ablation.md"]
    # It went back five times before it was given up, which its last checkpoint does not tell.
    assert "| SGLD, as far patch | 1 | 0.100 | 0.200 | -0.30 | 4.0 | 1 of 1 | 1 of 1 |" in found["chains.md"]
    assert "SGLD, as far image" not in found["chains.md"]
    assert "means over bottle seed 0:" in found["ablation.md"]


def test_what_variants_are_chosen_by_stands_beside_what_test_images_say(rows: list[dict[str, Any]]) -> None:
    figures = {level: {"gap": 1.5, "auroc": 0.75} for level in ("patch", "image", "ensemble")}
    for row in rows[:1]:
        row["held_out"] = figures
    line = (
        "| bottle, thesis-small | 1 | +1.50 | 0.750 | 0.600 | +1.50 | 0.750 | 0.700 | +1.50 | 0.750 | 0.800 |"
    )
    found = tables(rows)["choice.md"]
    assert line in found
    # No run of the other length was scored on held-out images.
    assert "80 steps" not in found


def test_nothing_that_was_run_is_a_table_too() -> None:
    assert set(tables([]).values()) == {"Nothing has been run yet.\n"}
    assert results([])["lengths"] == {}
