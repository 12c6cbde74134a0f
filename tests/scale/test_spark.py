"""`examples/spark_score.py`, the recipe for Spark, on Spark itself with two workers of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pq = pytest.importorskip("pyarrow.parquet", reason="the extra `scale` is not installed")
pytest.importorskip("pyspark", reason="pyspark is not installed")
if shutil.which("java") is None:
    pytest.skip("Spark needs java", allow_module_level=True)

from patchebm.loading import load  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_recipe_scores_as_the_model_does(images: list[Path], bundle_file: Path, tmp_path: Path) -> None:
    for i in range(12):
        target = tmp_path / "images" / f"day {i % 2}" / f"{i:02d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images[i % len(images)], target)
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    places = [str(bundle_file), str(tmp_path / "images"), str(tmp_path / "results")]
    submitted = (
        "--master local[2] --conf spark.driver.host=127.0.0.1 --conf spark.ui.enabled=false pyspark-shell"
    )
    ran = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / "spark_score.py"), *places],
        env=os.environ
        | {"PYSPARK_SUBMIT_ARGS": submitted, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    rows = {Path(row["image"]).name: row for row in pq.read_table(tmp_path / "results").to_pylist()}
    assert len(rows) == 13
    bad = rows.pop("bad.png")
    assert bad["score"] is None
    assert bad["error"].startswith(f"{bad['image']} is not a PNG, JPEG, ")
    model = load(bundle_file, threads=1)
    for i in range(12):
        expected = model.predict(images[i % len(images)])[0]
        row = rows[f"{i:02d}.png"]
        assert (row["score"], row["anomalous"], row["error"]) == (expected.score, expected.anomalous, None)
