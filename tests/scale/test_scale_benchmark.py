"""`benchmarks.scale`: what it computes from what it measured."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="the extra `scale` is not installed")

from benchmarks.scale.__main__ import figures, table


def run(kind: str, variant: str, rows: int, seconds: float, **more: Any) -> dict[str, Any]:
    row = {"set": kind, "variant": variant, "seed": 0, "rows": rows, "load": 1.0}
    return row | {"seconds": seconds, "cpu_seconds": seconds, **more}


# A start of 2 seconds, and so many milliseconds an image.
SPEED = [
    run("speed", way, rows, 2 + rows * milliseconds / 1000)
    for way, milliseconds in {"decoding": 5, "bare": 20, "local-1": 20, "local-2": 10, "ray-2": 11}.items()
    for rows in (40, 240)
]
MEMORY = [
    run("memory", way, rows, 1.0, memory_mb=300 + rows // 100_000)
    for way in ("driver", "local-2", "ray-2")
    for rows in (10_000, 100_000)
]


def test_core_hours_of_models_split_what_depends_on_images() -> None:
    # 60 seconds any model, 2 seconds an image.
    fleet = [run("fleet", "fleet train", n, 60 + 2.0 * n, images=n) for n in (75, 30)]
    found = figures([*SPEED, *MEMORY, *fleet])["fleet"]
    assert found["cpu_seconds_of_any_model"] == pytest.approx(60)
    assert found["cpu_seconds_of_an_image"] == pytest.approx(2)
    assert found["core_hours_for_1000_models"] == pytest.approx(1000 * 460 / 3600, abs=0.05)
    assert found["core_hours_of_it_for_images"] == pytest.approx(1000 * 400 / 3600, abs=0.05)


def test_what_was_scored_whole_takes_the_place_of_what_was_computed() -> None:
    whole = [run("whole", way, rows, rows / 100 * factor) for rows in (100, 2000)
             for way, factor in (("local-2", 1.0), ("ray-2", 1.05))]  # fmt: skip
    # Of more rows one engine alone was measured.
    whole.append(run("whole", "local-2", 9000, 90.0))
    found = figures([*SPEED, *MEMORY, *whole])
    assert found["whole"]["rows"] == 2000
    assert found["whole"]["seconds"] == {"local-2": 20, "ray-2": 21}
    assert found["whole"]["ray_overhead"] == pytest.approx(0.05)
    assert found["ray_overhead_at_100000"] == pytest.approx(0.1, abs=0.001)
    text = table(found)
    assert "2,000 images (measured) | +5.0% (processes 20 s, Ray 21 s)" in text
    assert "(computed) | +10.0%" not in text
    assert "100,000 images (computed) | +10.0%" in table(figures([*SPEED, *MEMORY]))


def test_seconds_of_processes_that_waited_say_nothing() -> None:
    waiting = [row | {"seconds": 1.2 * row["seconds"]} for row in SPEED]
    found = figures([*waiting, *MEMORY])
    assert found["waited"] == pytest.approx(0.2)
    text = table(found)
    assert "Two workers against one | not to be told: a process alone waited for 20% of its time" in text
    # CPU time is what it was.
    assert "CPU time of an image, bare runtime | 20.0 ms" in text


def test_memory_is_that_of_each_engine() -> None:
    found = figures([*SPEED, *MEMORY])
    assert found["memory_mb"]["ray-2"] == {"10000": 300, "100000": 301}
    assert found["whole"] is None
    assert found["fleet"] is None
    text = table(found)
    for name in ("no workers", "two processes", "Ray, two workers"):
        assert f"Memory of the driver, {name} | 300 MB at 10,000 rows, 301 MB at 100,000 rows" in text
