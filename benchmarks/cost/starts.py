"""How long it takes to start: imports, help, and the first verdict, from the start of a process to its end.

Cold means that the files of the environment were dropped from the memory in which the system keeps what was
read last; Linux does so on request for files that no running process has open.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import patchebm

COLD, WARM = 3, 5


def commands(run: Path, bundle: Path | None, image: Path) -> dict[str, list[str]]:
    """Returns what is started, by the title of its row."""
    python = [sys.executable]
    program = [*python, "-m", "patchebm.cli.main"]
    found = {
        "Python alone": [*python, "-c", "pass"],
        "`import patchebm`": [*python, "-c", "import patchebm"],
        "`patchebm --help`": [*program, "--help"],
        "import of what scores a run folder": [*python, "-c", "from patchebm.detector import load"],
        "first verdict of a run folder": [*program, "predict", str(run), str(image)],
    }
    if bundle is not None:
        found["first verdict of an exported model"] = [*program, "predict", str(bundle), str(image)]
    return found


def measure(run: Path, bundle: Path | None, image: Path) -> dict[str, Any]:
    """Returns the median seconds of each start, cold and warm."""
    folders = environment_folders()
    found = {}
    for title, command in commands(run, bundle, image).items():
        cold = []
        for _ in range(COLD):
            drop_from_memory(folders)
            cold.append(seconds(command))
        warm = [seconds(command) for _ in range(WARM)]
        found[title] = {key: round(statistics.median(v), 3) for key, v in (("cold", cold), ("warm", warm))}
    return found


def seconds(command: Sequence[str]) -> float:
    """Returns how long a command takes. Raises CalledProcessError if it fails."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def environment_folders() -> list[Path]:
    """Returns the folders that hold what Python imports."""
    return [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")] + [
        Path(patchebm.__file__).parent
    ]


def drop_from_memory(folders: Iterable[Path]) -> None:
    """Drops files from the system's page cache."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(descriptor)
