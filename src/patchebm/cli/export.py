"""`patchebm export RUN --out part.patchebm`: one verified file that scores without torch.

The bundle is compared with the model in RUN, on images and on altered versions of some, and is not
written where it does not score as that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchebm.cli.options import Parser
from patchebm.cli.terminal import say_left_out
from patchebm.errors import ConfigError, PatchebmError
from patchebm.images.folders import open_image_set
from patchebm.images.listing import list_images
from patchebm.run_folder import RunFolder


def run(argv: Sequence[str]) -> None:
    """Export as the arguments say."""
    parser = Parser(prog="patchebm export", description=__doc__)
    parser.add_argument("run", help="folder that `patchebm train` wrote")
    parser.add_argument("--out", required=True, help="file to write, for instance part.patchebm")
    parser.add_argument("--format", default="onnx", help="onnx (default), or openvino")
    parser.add_argument(
        "--precision", help="f32, bf16 (openvino alone), or int8 if trained so; default: that of the training"
    )
    parser.add_argument(
        "--verify",
        nargs="+",
        help="images to compare on, or folders of them; default: the training images",
    )
    values = parser.parse(argv)

    from patchebm.detector import load
    from patchebm.export.build import build_bundle, check_target

    check_target(values.format, values.precision)
    if Path(values.out).is_dir():
        raise ConfigError(f"--out {values.out} is a folder; name a file, for instance part.patchebm")
    detector = load(values.run)
    verify = _training(detector.card_.get("root"))
    if values.verify:
        listing = list_images(values.verify)
        say_left_out(listing.left_out)
        verify = list(listing.images)
    if not verify:
        raise ConfigError(
            f"the images that {values.run} was trained on are not where they were; name some with --verify"
        )
    built = build_bundle(
        detector,
        verify=verify,
        form=values.format,
        precision=values.precision,
        figures=_figures(RunFolder(values.run)),
    )
    built.write(values.out)
    print(f"compared with {values.run} on {built.parity.describe()}")
    size = Path(values.out).stat().st_size
    print(f"bundle: {values.out} ({size / 1e6:.1f} MB); next: patchebm predict {values.out} IMAGES")


def _figures(run: RunFolder) -> dict[str, Any] | None:
    """Return the figures for the card, if the user put results into the run folder."""
    if not run.figures_file.exists():
        return None
    # Metrics need scikit-learn, and export alone does not.
    from patchebm.evaluation.results import stored_figures

    return stored_figures(run)


def _training(root: str | None) -> list[Path]:
    """The good images of a run, or none if they are no longer there."""
    try:
        return [image.path for image in open_image_set(root).train] if root else []
    except PatchebmError:
        return []
