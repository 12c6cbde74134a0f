"""`patchebm check DATA`: say whether an image set is fit to train on, and what to do.

Every image is read, and nothing is trained. The exit status is 0 where `patchebm train` with the same options
would train, and 2 where it would not.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from patchebm.check.result import SetCheck, check_set
from patchebm.cli.config_options import ConfigParser
from patchebm.cli.decoding import add_decoding_options, given_decoding
from patchebm.cli.options import GOOD_HELP, GROUPS_HELP, ROI_HELP, SKIP_BAD_HELP
from patchebm.cli.terminal import show
from patchebm.config.build import check_config
from patchebm.errors import DataError
from patchebm.files import as_unicode, write_text
from patchebm.images.folders import GOOD, open_image_set
from patchebm.images.region import read_region
from patchebm.progress import progress_bar

# As many of the oddest images are named in the terminal.
_NAMED = 3
# Options that `train` does not have; each takes a value.
_OWN = ("--report", "--json")


def run(argv: Sequence[str]) -> None:
    """Checks as the arguments say."""
    parser = ConfigParser(prog="patchebm check", description=__doc__, seed=False)
    parser.add_argument("data", help="folder in MVTec AD layout, or of good images")
    parser.add_argument("--report", help="folder for check.html, which shows the oddest images, too")
    parser.add_argument("--json", help="write all that was found to this file")
    parser.add_argument("--groups", help=GROUPS_HELP)
    parser.add_argument("--roi", help=ROI_HELP)
    add_decoding_options(parser)
    parser.add_argument("--good", nargs="+", default=[], metavar="NAME", help=GOOD_HELP)
    parser.add_argument("--skip-bad", action="store_true", help=SKIP_BAD_HELP)
    values, changes = parser.parse_config(argv)
    config = changes.applied_to(values.preset)
    check_config(config)
    decoding = given_decoding(values)
    region = None if values.roi is None else read_region(values.roi)
    image_set = open_image_set(values.data, groups=values.groups, good=values.good)
    count = len(image_set.train) + len(image_set.test)
    with progress_bar(count, "check", "image", leave=False) as bar:
        check = check_set(image_set, config, decoding, region, skip_bad=values.skip_bad, tick=bar.update)
    if values.json:
        write_text(values.json, json.dumps(check.to_dict(), indent=1, allow_nan=False) + "\n")
    command = _train_command(argv)
    for line in _lines(check):
        show(line)
    if values.report:
        # Imported here: templates take a moment.
        from patchebm.report.check_page import write_check_page

        page = Path(values.report) / "check.html"
        write_check_page(page, check, command)
        show(f"open {page.resolve()}")
    if not check.trainable:
        errors = sum(finding.weight == "error" for finding in check.findings)
        those = "the error" if errors == 1 else f"the {errors} errors"
        raise DataError(f"{values.data} cannot be trained on; put {those} above right first")
    show(f"{values.data} can be trained on: {command}")


def _lines(check: SetCheck) -> Iterator[str]:
    """Yields what the terminal shows."""
    for one in check.folders:
        label = {GOOD: "good parts", "": "unknown truth"}.get(one.label, f"the defect '{one.label}'")
        images = "1 image" if one.images == 1 else f"{one.images} images"
        masks = f", {one.masked} with masks" if one.masked else ""
        yield f"to {one.use} on: {images} of {label} in {one.folder}{masks}"
    for finding in check.findings:
        yield as_unicode(f"{finding.weight}: {finding}")
    if check.odd:
        names = [f"{check.name_of(one.index)} ({one.reasons[0]})" for one in check.odd[:_NAMED]]
        yield (
            f"most unlike the others as a whole, as some always are: {'; '.join(names)}; look at them with "
            "--report. Small defects are not seen here"
        )


def _train_command(argv: Sequence[str]) -> str:
    """Returns the command that trains with the options of the check."""
    words: list[str] = []
    waiting = iter(argv)
    for word in waiting:
        if word in _OWN:
            next(waiting)
        elif word.partition("=")[0] not in _OWN:
            words.append(word)
    return shlex.join(["patchebm", "train", *words, "--out", "RUN"])
