"""`patchebm watch FOLDER --model MODEL --out RESULTS`: score images as a camera writes them."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patchebm.cli.model import add_model_options, add_region_options, open_model
from patchebm.cli.options import Parser
from patchebm.cli.terminal import say, show
from patchebm.errors import ConfigError, DataError
from patchebm.line.journal import Journal, Record
from patchebm.line.poster import check_url
from patchebm.line.stream import Stream
from patchebm.line.watch import FolderWatch
from patchebm.line.webhook import Webhook


def run(argv: Sequence[str]) -> None:
    """Watches as the arguments say."""
    parser = Parser(prog="patchebm watch", description=__doc__)
    parser.add_argument("folder", help="where images arrive; sub-folders are watched too")
    parser.add_argument("--model", required=True, help="bundle, or folder that `patchebm train` wrote")
    parser.add_argument(
        "--out",
        required=True,
        help="folder for results.jsonl and results.csv; results that are there are kept",
    )
    add_model_options(parser)
    add_region_options(parser)
    parser.add_argument("--webhook", help="send each record to this address as JSON")
    parser.add_argument(
        "--poll", type=float, default=0.5, help="seconds between two scans of the folder (default: 0.5)"
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=1.0,
        help="seconds for which a file must not change before it is read (default: 1)",
    )
    parser.add_argument("--once", action="store_true", help="stop when every image there is recorded")
    parser.add_argument(
        "--maps",
        action="store_true",
        help="write overlays, the images with their anomaly maps, to maps/ in --out",
    )
    parser.add_argument(
        "--regions",
        action="store_true",
        help="list the anomalous regions in each record, as --maps does, too",
    )
    values = parser.parse(argv)
    folder, out = _folders(values.folder, values.out)
    if values.smallest_region > 1 and not (values.regions or values.maps):
        raise ConfigError("--smallest-region needs --regions or --maps: without them no regions are listed")
    for name in ("poll", "settle"):
        if not 0 <= getattr(values, name) < math.inf:
            raise ConfigError(f"--{name} is {getattr(values, name)}; give seconds, such as 1")
    if values.webhook is not None:
        check_url(values.webhook, "--webhook")
    with _stop_on_signals() as stop:
        model = open_model(values.model, values).with_smallest_region(values.smallest_region)
        # Only now: a model that cannot be used leaves no empty results behind.
        with Journal(out) as journal:
            if journal.cut:
                say(f"{journal.path}: cut off a line that an interruption had torn")
            webhook = Webhook(values.webhook, journal, say=say) if values.webhook is not None else None
            watch = FolderWatch(
                folder, settle=values.settle, known=journal.knows, say=say, skip=out.resolve()
            )
            tally = _Tally(webhook)
            stream = Stream(
                model,
                watch,
                journal,
                model=values.model,
                maps=out / "maps" if values.maps else None,
                regions=values.regions,
                stop=stop,
                say=say,
                recorded=tally.add,
            )
            say(f"watching {folder}; {len(journal)} images are recorded in {journal.path}; Ctrl-C stops")
            if webhook is not None:
                webhook.start()
            try:
                stream.run(poll=max(values.poll, 0.01), once=values.once)
            finally:
                if webhook is not None:
                    webhook.close()
                say(tally.sentence())


class _Tally:
    """This class prints records as they come and counts them."""

    def __init__(self, webhook: Webhook | None) -> None:
        self._webhook = webhook
        self._began = time.monotonic()
        self._images = self._anomalous = self._errors = 0

    def add(self, records: Sequence[Record]) -> None:
        """Takes in a batch."""
        if self._webhook is not None:
            self._webhook.notify()
        for record in records:
            self._images += 1
            if "error" in record:
                self._errors += 1
                show(f"{'ERROR':<10}{'':>8}  {record['image']}: {record['error']}")
                continue
            self._anomalous += record["anomalous"]
            verdict = "ANOMALOUS" if record["anomalous"] else "normal"
            show(f"{verdict:<10}{record['score']:>8.2f}  {record['image']}")

    def sentence(self) -> str:
        """Says what this run did."""
        return (
            f"stopped: {self._images} images recorded in {time.monotonic() - self._began:.0f} s, "
            f"{self._anomalous} of them anomalous, {self._errors} unreadable"
        )


def _folders(folder: str, out: str) -> tuple[Path, Path]:
    """Returns both folders. Raises DataError if they cannot be used."""
    if not os.path.isdir(folder):
        kind = "is no folder" if os.path.exists(folder) else "does not exist"
        raise DataError(f"folder {folder} {kind}; check the path, or mount the share first")
    if os.path.realpath(folder) == os.path.realpath(out):
        raise DataError(f"--out {out} is the watched folder itself; choose another folder for results")
    return Path(folder), Path(out)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Yields an event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts at once."""
    stop = threading.Event()

    def on_signal(number: int, _: Any) -> None:
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"stopping after this batch\n")
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
