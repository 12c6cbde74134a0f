"""The benchmark of the thesis: runs that go on where they stopped, and tables of what its log says."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claims import thesis
from benchmarks.thesis import diagnosis
from benchmarks.thesis.__main__ import HERE, UNFINISHED, main
from benchmarks.thesis.figures import length_name
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
    points, sides = found["40"]["points"], ("ours", "baseline", "points")
    assert points == {
        "ours": {"mean": pytest.approx(0.85), "std": pytest.approx(0.0707, abs=1e-4)},
        "baseline": {"mean": 0.5, "std": 0.0},
        "points": {"mean": pytest.approx(35), "std": pytest.approx(7.07, abs=0.01)},
        "sets": {"bottle": {"seeds": [0, 1]} | {side: points[side] for side in sides}},
        "pairs": 2,
    }
    assert found["40"]["oracle_points"]["ours"]["mean"] == pytest.approx(0.75)
    assert found["40"]["oracle_points"]["points"]["mean"] == pytest.approx(35)
    assert found["80"]["points"] == found["80"]["oracle_points"] == {}


def test_every_set_counts_alike_and_a_run_that_diverged_leaves_out_itself_alone(
    rows: list[dict[str, Any]],
) -> None:
    rows.append(made_up("image-baseline", "screw", 0, 40, image=0.3))
    diverged = made_up("thesis-small", "screw", 1, 40, patch=0.1)
    del diverged["levels"], diverged["oracle"]
    rows += [{**diverged, "diverged": "the energy diverged 6 times, last at step 5"}]
    rows.append(made_up("image-baseline", "screw", 1, 40, image=0.9))
    rows.append(made_up("Gaussian alone", "bottle", 0, 0, patch=0.9, image=0.9, ensemble=0.95))
    found = results(rows)["lengths"]["40"]["points"]
    # +35 points on bottle with two seeds, -20 on screw with one.
    assert found["points"] == {"mean": pytest.approx(7.5)}
    assert found["sets"]["screw"]["seeds"] == [0]
    assert found["pairs"] == 3
    text = tables(rows)["beside.md"].split("**40 steps**")[1]
    assert "After 40 steps, over bottle 0, 1; screw 0 (sets with their seeds)" in text
    assert "one of 0.400: +7.5 points. The thesis says +18.3 points." in text
    assert "+18.3 points or more: missed." in text
    assert "on 0 of the 1 sets" in text
    assert "below 0.03: unknown, for want of seeds." in text
    lines = [line for line in text.splitlines() if line.startswith(("| bottle", "| screw", "| mean"))]
    bottle, screw, mean = lines[:3]
    assert bottle == "| bottle | 0, 1 | 0.850 ± 0.071 | 0.500 ± 0.000 | +35.0 ± 7.1 | 0.950 | 0 of 4 |"
    assert screw == "| screw | 0 | 0.100 | 0.300 | -20.0 | – | 1 of 4 |"
    # The Gaussian was not run on screw: a mean over other sets would be no comparison.
    assert mean == "| mean over bottle, screw | 3 pairs | 0.475 | 0.400 | +7.5 | – |  |"


def test_a_set_that_only_one_of_both_has_is_shown_without_a_difference(rows: list[dict[str, Any]]) -> None:
    longest, shorter = tables(rows)["beside.md"].split("**40 steps**")
    assert "no set has a run of both" in longest
    assert "| bottle | – | 0.900 | – | – | 0 of 1 |" in longest
    assert "mean over" not in longest
    assert "| screw | – | 0.100 | – | – | 0 of 1 |" in shorter
    assert "| mean over bottle | 2 pairs |" in shorter


def test_goals_that_are_reached_are_called_so() -> None:
    rows = [made_up("thesis-small", "bottle", seed, 40, ensemble=0.9) for seed in (0, 1)]
    rows += [made_up("image-baseline", "bottle", seed, 40, image=0.5) for seed in (0, 1)]
    rows.append(made_up("Gaussian alone", "bottle", 0, 0, ensemble=0.8))
    text = tables(rows)["beside.md"]
    assert "+18.3 points or more: reached." in text
    assert "on 1 of the 1 sets" in text
    assert "below 0.03: reached." in text


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
    # A single seed has no spread, and the mean says of which sets it is.
    assert "| 0.100 |" in auroc
    assert "| image AUROC | bottle | screw | mean over bottle |" in auroc
    # It went back five times before it was given up, which its last checkpoint does not tell.
    assert "| SGLD, as far patch | 1 | 0.100 | 0.200 | -0.30 | 4.0 | 1 of 1 | 1 of 1 |" in found["chains.md"]
    assert "SGLD, as far image" not in found["chains.md"]


def test_a_run_that_was_given_up_before_its_first_point_counts_among_the_runs(
    rows: list[dict[str, Any]],
) -> None:
    for variant in ("SGLD, as far", "no batch norm", "energy penalty"):
        given_up = made_up(variant, "bottle", 1, 40)
        del given_up["levels"], given_up["oracle"]
        rows.append({**given_up, "chains": {"patch": {}, "image": {}}, "diverged": "it diverged 6 times"})
    found = tables(rows)
    assert "| SGLD, as far patch | 1 | 0.100 | 0.200 | -0.30 | 4.0 | 2 of 2 | 2 of 2 |" in found["chains.md"]
    assert "| energy penalty | 0 | – | – | – | – | 1 of 1 | 1 of 1 |" in found["chains.md"]
    ablation = found["ablation.md"]
    assert "| no batch norm patch | 1 of 2 | 1 (bottle 0) | 0.100 |" in ablation
    assert "| energy penalty | 1 of 1 | 0 | diverged | – | – | diverged | – | – | – | – | 0.50 |" in ablation


def test_variants_are_compared_with_the_recipe_pair_by_pair(rows: list[dict[str, Any]]) -> None:
    rows.append(made_up("own batch statistics", "bottle", 0, 40, patch=0.5, image=0.7, ensemble=0.9))
    rows.append(made_up("own batch statistics", "bottle", 1, 40, patch=0.5, image=0.7, ensemble=0.9))
    # The recipe has no such run.
    rows.append(made_up("uniform initialisation", "bottle", 2, 40, patch=0.3, image=0.3, ensemble=0.4))
    text = tables(rows)["ablation.md"]
    chains = "0.100 | 0.200 | -0.30 | 0.50"
    # One that only one seed has does not take the other seed from the others.
    lines = (
        "| own batch statistics ensemble | 0 of 2 | 2 (bottle 0, 1) | 0.900 ± 0.000 | 0.850 ± 0.071 "
        "| +5.0 ± 7.1 | 0.800 ± 0.000 | +5.0 ± 7.1 | – | – | – | 0.50 |",
        "| own batch statistics patch | 0 of 2 | 2 (bottle 0, 1) | 0.500 ± 0.000 | 0.600 ± 0.000 "
        f"| -10.0 ± 0.0 | 0.400 ± 0.000 | -10.0 ± 0.0 | {chains} |",
        f"| no batch norm patch | 0 of 1 | 1 (bottle 0) | 0.100 | 0.600 | -50.0 | 0.000 | -50.0 | {chains} |",
        "| no batch norm ensemble | 0 of 1 | 1 (bottle 0) | 0.300 | 0.800 | -50.0 | 0.200 | -50.0 "
        "| – | – | – | 0.50 |",
        "| no noise on data, image level alone image | 0 of 1 | 1 (bottle 0) | 0.400 | 0.700 | -30.0 "
        f"| 0.300 | -30.0 | {chains} |",
        f"| SGLD, as far patch | 1 of 1 | 0 | diverged | – | – | diverged | – | {chains} |",
        f"| uniform initialisation image | 0 of 1 | 0 | 0.300 | – | – | 0.200 | – | {chains} |",
        # Its run on screw would be compared with nothing.
        f"| thesis-small patch | 0 of 2 | – | 0.600 ± 0.000 | – | – | 0.500 ± 0.000 | – | {chains} |",
    )
    for line in lines:
        assert line in text
    assert "SGLD, as far image" not in text
    # At 80 steps no part was exchanged.
    assert "80 steps" not in text


def test_what_was_run_and_what_was_not(rows: list[dict[str, Any]]) -> None:
    rows.append(made_up("untrained", "screw", 0, 0, ensemble=0.5))
    text = tables(rows)["runs.md"]
    longest, shorter = text.split("**40 steps**")
    assert "| thesis-small | 0 | – | – | – |" in longest
    assert "image-baseline; SGLD, as many passes" in longest
    assert "| thesis-small | 0, 1 | 0 | – | – |" in shorter
    assert "| SGLD, as far | 0 (diverged) | – | – | – |" in shorter
    missing = next(line for line in shorter.splitlines() if line.startswith("Not run at this length"))
    assert "uniform initialisation" in missing
    assert "SGLD, as far" not in missing
    assert "untrained" not in missing
    assert shorter.endswith("| untrained | – | 0 | – | – |\n")


@pytest.fixture(scope="module")
def committed() -> list[dict[str, Any]]:
    """The committed runs."""
    found: list[dict[str, Any]] = json.loads((HERE / "results.json").read_text(encoding="utf-8"))["runs"]
    return found


def test_the_first_claim_recomputed_from_the_committed_runs(committed: list[dict[str, Any]]) -> None:
    by_length: dict[Any, dict[str, list[float]]] = {}
    for row in committed:
        for other in committed:
            pair = (row["variant"], other["variant"]) == ("thesis-small", "image-baseline")
            same = all(row[name] == other[name] for name in ("set", "seed", "steps"))
            if pair and same and "levels" in row and "levels" in other:
                difference = 100 * (row["levels"]["ensemble"] - other["levels"]["image"])
                by_length.setdefault(row["steps"], {}).setdefault(row["set"], []).append(difference)
    assert by_length
    found = tables(committed)["beside.md"]
    claims = dict(thesis({"runs": committed, "full_size": "not run"}))
    for steps, by_set in by_length.items():
        points = f"{statistics.mean(map(statistics.mean, by_set.values())):+.1f}"
        section = found.split(f"**{length_name(steps)}**")[1].split("\n**")[0]
        assert section.split(" points. The thesis says")[0].split(": ")[-1].split(" ")[0] == points
        (figure,) = (
            text for name, text in claims.items() if f"Image AUROC after {length_name(steps)} (" in name
        )
        assert figure.split(": ")[1].split(" ")[0] == points
        for name, differences in by_set.items():
            line = next(line for line in section.splitlines() if line.startswith(f"| {name} |"))
            cell = line.split(" | ")[4]
            assert cell.split(" ")[0] == f"{statistics.mean(differences):+.1f}"
            assert ("±" in cell) == (len(differences) > 1)


def test_the_ablation_recomputed_from_the_committed_runs(committed: list[dict[str, Any]]) -> None:
    parts = re.split(r"^\*\*(.*)\*\*$", tables(committed)["ablation.md"], flags=re.MULTILINE)[1:]
    checked = 0
    for length, section in zip(parts[::2], parts[1::2], strict=True):
        recipe = {
            (row["set"], row["seed"]): row["levels"]
            for row in committed
            if row["variant"] == "thesis-small" and length_name(row["steps"]) == length and "levels" in row
        }
        for line in section.splitlines():
            cells = line.strip("| ").split(" | ")
            variant, _, level = cells[0].rpartition(" ")
            if variant not in CHANGES or variant == "thesis-small":
                continue
            own = [
                row
                for row in committed
                if row["variant"] == variant and (row["steps"] == 0 or length_name(row["steps"]) == length)
            ]
            differences = [
                100 * (row["levels"][level] - recipe[row["set"], row["seed"]][level])
                for row in own
                if level in row.get("levels", {}) and (row["set"], row["seed"]) in recipe
            ]
            assert cells[1] == f"{sum('diverged' in row for row in own)} of {len(own)}"
            assert cells[2].split(" ")[0] == f"{len(differences)}"
            if differences:
                assert cells[5].split(" ")[0] == f"{statistics.mean(differences):+.1f}"
                assert ("±" in cells[5]) == (len(differences) > 1)
            checked += len(differences)
    assert checked > 3


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
