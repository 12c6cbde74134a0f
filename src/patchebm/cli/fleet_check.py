"""This module checks the images of a product of a fleet before a model is trained on them."""

from __future__ import annotations

from collections.abc import Sequence

from patchebm.check.findings import find_all
from patchebm.check.reading import read_set
from patchebm.cli.decoding import given_decoding
from patchebm.cli.terminal import printable
from patchebm.cli.train import given_config, train_parser
from patchebm.images.folders import open_image_set
from patchebm.images.region import read_region


def warnings_before_training(argv: Sequence[str]) -> list[str]:
    """Returns the warnings that `patchebm check` has of images, a line each; errors stop the training itself.

    Args:
        argv: of `patchebm train`, which names the images.

    Raises:
        PatchebmError: the images cannot be listed, or the options cannot work.
    """
    values, changes = train_parser().parse_config(argv)
    config = given_config(values, changes)
    region = None if values.roi is None else read_region(values.roi)
    image_set = open_image_set(values.data, groups=values.groups, good=values.good)
    training, test = read_set(image_set, given_decoding(values))
    findings = find_all(image_set, training, test, config, region, skip_bad=values.skip_bad)
    return [printable(str(finding)) for finding in findings if finding.weight == "warning"]
