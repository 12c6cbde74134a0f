"""`patchebm check` as a user runs it: what it says is true, and nothing stops it half-way."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchebm.cli.main import main
from tests.failing import failure
from tests.test_wall import HEAVY
from tests.tiny import flanges, write_good

IMAGES = [np.rint(255 * image).astype(np.uint8) for image in flanges(24)]


PIXELS = ("--preset", "pixel-cpu")


def of_two_parts(folder: Path) -> None:
    rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(20))
    (folder / "groups.csv").write_text("file,group\n" + rows)


def put(path: Path, image: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Twenty different images of good parts."""
    for i in range(20):
        put(tmp_path / "parts" / f"{i}.png", IMAGES[i])
    return tmp_path / "parts"


def check(folder: Path, *options: str, status: int = 0) -> dict[str, Any]:
    """What the check wrote, by the kind of finding where it is about findings."""
    file = folder.parent / "check.json"
    assert main(["check", str(folder), "--json", str(file), *options]) == status
    facts: dict[str, Any] = json.loads(file.read_text())
    facts["by_kind"] = {finding["kind"]: finding for finding in facts["findings"]}
    weights = [finding["weight"] for finding in facts["findings"]]
    assert weights == sorted(weights, key=("error", "warning", "note").index)
    assert facts["trainable"] == (status == 0) == ("error" not in weights)
    return facts


def said(facts: dict[str, Any], kind: str) -> str:
    finding = facts["by_kind"][kind]
    return f"{finding['weight']}: {finding['sentence']}; {finding['fix']}"


class TestSaying:
    def test_a_plain_set_has_nothing_but_notes(self, data: Path) -> None:
        facts = check(data, "--false-alarm-rate", "0.2")
        assert set(facts["by_kind"]) == {"rate"}
        assert facts["images"] | {"test": 0} == {
            "train": 9,
            "usable": 9,
            "distinct": 9,
            "parts": 9,
            "test": 0,
        }
        assert facts["supported_rate"] == pytest.approx(0.1)
        folders = {one["folder"]: (one["use"], one["label"], one["images"]) for one in facts["folders"]}
        assert folders["train/good"] == ("train", "good", 9)
        assert folders["test/good"] == ("test", "good", 3)
        assert folders["test/scratch"] == ("test", "scratch", 1)
        assert all(
            one["masked"] == (one["label"] not in ("good",)) * one["images"] for one in facts["folders"]
        )

    def test_too_few_images_for_the_rate(self, parts: Path) -> None:
        assert said(check(parts), "rate").startswith("note: 20 images can show a false-alarm rate of 4.8 %")
        text = said(check(parts, "--false-alarm-rate", "0.01"), "rate")
        assert text.startswith("warning: 20 images can show a false-alarm rate of 4.8 % at best, and 1 %")
        assert "give at least 99 good parts, or ask for --false-alarm-rate 0.048" in text

    def test_copies_exact_and_saved_again(self, parts: Path) -> None:
        shutil.copy(parts / "3.png", parts / "again.png")
        # Images this small would lose the detail that is compared to JPEG.
        put(parts / "saved.webp", (0.95 * IMAGES[5]).astype(np.uint8), lossless=True)
        facts = check(parts)
        assert facts["images"]["distinct"] == 20
        assert facts["by_kind"]["copies"]["files"] == ["again.png: as 3.png", "saved.webp: as 5.png"]
        assert "2 of 22 images are copies of others" in said(facts, "copies")
        assert "21 PNG, 1 WEBP" in said(facts, "file kinds")

    def test_unreadable_images(self, parts: Path) -> None:
        (parts / "4.png").write_bytes((parts / "4.png").read_bytes()[:300])
        (parts / "link.png").symlink_to("nowhere.png")
        facts = check(parts, status=2)
        assert said(facts, "unreadable").startswith("error: 2 of 21 training images cannot be used, such as")
        assert "patchebm train --skip-bad" in said(facts, "unreadable")
        assert [Path(line.split(" ")[0]).name for line in facts["by_kind"]["unreadable"]["files"]] == [
            "4.png",
            "link.png",
        ]
        assert facts["folders"][0]["unusable"] == 2
        assert check(parts, "--skip-bad")["by_kind"]["unreadable"]["weight"] == "warning"

    def test_an_unreadable_test_image_does_not_stop_training(self, parts: Path) -> None:
        root = parts.rename(parts.with_name("good")).parent / "set"
        shutil.copytree(root.parent / "good", root / "train" / "good")
        (root / "test" / "scratch").mkdir(parents=True)
        (root / "test" / "scratch" / "0.png").write_bytes(b"")
        assert said(check(root), "unreadable").startswith(
            "warning: 1 of 1 test images or their masks cannot be used"
        )

    def test_small_blank_and_mixed_images(self, parts: Path) -> None:
        put(parts / "blank.png", np.full((64, 64, 3), 200, np.uint8))
        put(parts / "grey.jpg", IMAGES[20].mean(2).astype(np.uint8), quality=60)
        put(parts / "wide.jpg", np.asarray(Image.fromarray(IMAGES[21]).resize((200, 100))), quality=90)
        facts = check(parts)
        assert facts["by_kind"]["blank images"]["files"] == ["blank.png"]
        assert "1 image has one colour all over" in said(facts, "blank images")
        # A blank image shows no colour, either.
        assert "2 of 23 images show no colour" in said(facts, "colour")
        assert "quality 60 to 90" in said(facts, "JPEG quality")
        assert "2 sizes, from 64 x 64 to 200 x 100 pixels" in said(facts, "sizes")
        assert {one["image"] for one in facts["oddest"][:2]} == {"blank.png", "wide.jpg"}
        put(parts / "tiny.png", IMAGES[22][:6, :9])
        facts = check(parts, status=2)
        assert facts["by_kind"]["small images"]["files"] == ["tiny.png"]

    def test_depth_and_transparency(self, parts: Path) -> None:
        for i in range(20):
            if i < 18:
                put(parts / f"{i}.png", (16 * IMAGES[i].mean(2)).astype(np.uint16))
            else:
                alpha = np.full((64, 64, 1), 255 - 200 * (i == 18), np.uint8)
                put(parts / f"{i}.png", np.concatenate([IMAGES[i], alpha], axis=2))
        facts = check(parts)
        assert "read as 12-bit data, in which white is 4095" in said(facts, "depth")
        assert "--bits N" in said(facts, "depth")
        assert facts["decoding"]["white_level"] == 4095
        assert facts["numbers"] == {"uint16": 18, "uint8": 2}
        assert "1 of 20 images are transparent in places" in said(facts, "transparency")
        # Two files of 8 bits among those of 12.
        assert "(2 such images)" in said(facts, "misfit: shallow")
        assert check(parts, "--bits", "14")["decoding"]["white_level"] == 16383

    def test_groups_that_names_suggest(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        for i in range(30):
            noise = rng.integers(-9, 10, IMAGES[0].shape)
            image = np.clip(IMAGES[i // 3].astype(int) + noise, 0, 255).astype(np.uint8)
            put(tmp_path / "views" / f"part{i // 3}_{i % 3}.png", image)
        facts = check(tmp_path / "views")
        text = said(facts, "names")
        assert "suggest that they show 10 parts" in text
        pattern = shlex.split(text.split("add --groups ")[1])[0]
        grouped = check(tmp_path / "views", "--groups", pattern)
        assert grouped["images"]["parts"] == 10
        assert "30 of 30 images which of 10 parts" in said(grouped, "groups")
        assert "names" not in grouped["by_kind"]
        assert "30 images of 10 parts can show a false-alarm rate of 9.1 %" in said(grouped, "rate")

    def test_test_folders_and_what_is_left_out(self, parts: Path) -> None:
        root = parts.parent / "set"
        shutil.copytree(parts, root / "train" / "good")
        put(root / "train" / "other" / "0.png", IMAGES[20])
        put(root / "test" / "OK" / "0.png", IMAGES[21])
        put(root / "test" / "OK" / "old.png", IMAGES[3])
        put(root / "test" / "dent" / "0.png", IMAGES[22])
        put(root / "test" / "0.png", IMAGES[23])
        facts = check(root)
        assert f"note: {root / 'test' / 'OK'} holds good parts by its name" in said(facts, "good by name")
        assert "--good OK other" in said(facts, "left out")
        assert facts["by_kind"]["trained test images"]["files"] == ["test/OK/old.png"]
        assert "unknown truth" in said(facts, "unlabelled")
        # What is proposed does what it says.
        again = check(root, "--good", "OK", "other")
        assert again["images"]["train"] == 21
        assert "left out" not in again["by_kind"]

    def test_test_images_of_another_kind(self, parts: Path) -> None:
        root = parts.parent / "set"
        shutil.copytree(parts, root / "train" / "good")
        for i in range(4):
            put(root / "test" / "good" / f"{i}.jpg", IMAGES[20 + i], quality=80)
        facts = check(root)
        text = said(facts, "different test images")
        assert "good test images are JPEG at quality 80, and training images are PNG" in text
        assert "no test images of defects" in said(facts, "no defects")

    def test_masks(self, data: Path, tmp_path: Path) -> None:
        root = Path(shutil.copytree(data, tmp_path / "own"))
        mask = next((root / "ground_truth" / "scratch").iterdir())
        with Image.open(mask) as image:
            pixels = np.asarray(image)
        Image.fromarray(255 - pixels).save(mask)
        assert mask.name in said(check(root), "inverted masks")
        Image.fromarray(0 * pixels).save(mask)
        assert mask.name in said(check(root), "empty masks")


class TestRefusing:
    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda root: root.mkdir(), "holds no images of good parts"),
            (lambda root: root.write_text("x"), "is a file, not a folder"),
            (lambda root: None, "does not exist"),
            (
                lambda root: put(root / "test" / "class0" / "0.png", IMAGES[0]),
                "holds no images of good parts",
            ),
        ],
    )
    def test_what_is_no_set(
        self, tmp_path: Path, make: Any, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        make(tmp_path / "set")
        assert words in failure(capsys, "check", str(tmp_path / "set"), "--report", str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("count", [1, 5])
    def test_too_few_images(self, tmp_path: Path, count: int) -> None:
        facts = check(write_good(tmp_path / "few", count), *PIXELS, status=2)
        known = "5 good images are" if count == 5 else "1 good image is"
        assert said(facts, "too few images").startswith(f"error: {known} too few to train")

    def test_no_image_at_all_can_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "texts").mkdir()
        (tmp_path / "texts" / "a.png").write_text("no image")
        found = said(check(tmp_path / "texts", status=2), "too few images")
        assert found.startswith("error: 0 good images are too few to train; give at least one")

    def test_copies_of_one_frame(self, tmp_path: Path) -> None:
        for i in range(12):
            put(tmp_path / "frame" / f"{i}.png", IMAGES[0])
        assert "all but 1 are copies" in said(check(tmp_path / "frame", *PIXELS, status=2), "too few images")

    def test_too_few_parts(self, parts: Path) -> None:
        of_two_parts(parts)
        facts = check(parts, *PIXELS, status=2)
        assert "20 good images of 2 parts are too few" in said(facts, "too few parts")

    def test_what_the_default_takes_of_few_is_no_error(self, tmp_path: Path, parts: Path) -> None:
        of_two_parts(parts)
        assert "too few parts" not in check(parts)["by_kind"]
        facts = check(write_good(tmp_path / "five", 5))
        assert "5 images can show a false-alarm rate of 17 % at best" in said(facts, "rate")
        facts = check(write_good(tmp_path / "one", 1))
        assert "1 image shows no false-alarm rate: the threshold would be a guess" in said(facts, "rate")
        assert facts["supported_rate"] is None
        for i in range(12):
            put(tmp_path / "frame" / f"{i}.png", IMAGES[0])
        assert set(check(tmp_path / "frame")["by_kind"]) >= {"copies", "rate"}
        (parts / "groups.csv").write_text("file,group\n" + "".join(f"{i}.png,a\n" for i in range(20)))
        assert "give images of at least two parts" in said(check(parts, status=2), "too few parts")

    def test_a_region_is_drawn_on_such_images(self, parts: Path, tmp_path: Path) -> None:
        height, width = IMAGES[0].shape[:2]
        inside = np.zeros((height, width), np.uint8)
        inside[:, : width // 4] = 255
        roi = str(put(tmp_path / "roi.png", inside))
        assert said(check(parts, "--roi", roi), "region").startswith("note: 25 % of the image is inspected")
        put(parts / "wide.png", np.rint(np.tile(IMAGES[1], (1, 2, 1))).astype(np.uint8))
        facts = check(parts, "--roi", roi, status=2)
        assert re.match(r"error: .*stretched over 1 of 21 images, .*wide\.png", said(facts, "region"))
        assert "a preset of features" in said(check(parts, "--roi", roi, *PIXELS, status=2), "region")

    def test_options_are_those_of_train(self, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "--bits is 'x'" in failure(capsys, "check", str(parts), "--bits", "x")
        assert "unknown option '--seed2'" in failure(capsys, "check", str(parts), "--seed2", "1")
        assert "above 0 and below 1" in failure(capsys, "check", str(parts), "--false-alarm-rate", "2")


class TestShowing:
    def test_names_cannot_harm_page_terminal_or_json(
        self, parts: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (parts / "3.png").rename(parts / 'a <b>&\x1b[31m"\n.png')
        os.rename(os.fsencode(parts / "4.png"), os.fsencode(parts) + b"/\xff.png")
        shutil.copy(parts / "5.png", parts / "<script>.png")
        out = parts.parent / "out"
        facts = check(parts, "--report", str(out))
        assert facts["by_kind"]["copies"]["files"] == ["<script>.png: as 5.png"]
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        page = (out / "check.html").read_text(encoding="utf-8")
        assert "<b>" not in page
        assert "<script" not in page
        assert "&lt;script&gt;.png" in page

    def test_the_page_and_the_command(self, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = parts.parent / "out"
        options = ["--false-alarm-rate", "0.01", "--bits", "12"]
        assert main(["check", str(parts), *options, f"--report={out}", "--json", str(out / "f.json")]) == 0
        shown = capsys.readouterr().out
        command = f"patchebm train {parts} --false-alarm-rate 0.01 --bits 12 --out RUN"
        assert shown.splitlines()[-1] == f"{parts} can be trained on: {command}"
        page = (out / "check.html").read_text(encoding="utf-8")
        assert command in page
        assert page.count("data:image/jpeg") == 12
        assert "are <strong>not</strong> seen here" in page
        assert not re.search(r"https?://", page)
        assert sorted(file.name for file in out.iterdir()) == ["check.html", "f.json"]

    def test_the_base_install_is_enough(self, parts: Path) -> None:
        refuse = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(HEAVY)}:
            raise ModuleNotFoundError(f"{{name}} is not in the base install", name=name)

sys.meta_path.insert(0, Refuse())
from patchebm.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
        page = parts.parent / "out"
        command = [sys.executable, "-c", refuse, "check", str(parts), "--report", str(page)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert (page / "check.html").stat().st_size > 10_000
