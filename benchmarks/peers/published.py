"""What others have published on the two sets that are whole public categories, with their official splits.

Only figures whose source was read are here: files of the authors' repositories at a commit, and the pages
that come with anomalib 2.7. Tables of papers that could not be opened from here are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.methods import METHODS
from patchebm.evaluation.summary import markdown, moments, with_spread

PATCHCORE = (
    "amazon-science/patchcore-inspection at 5adb469, models/{}/results.csv (the code of Roth et al., CVPR "
    "2022)"
)
ANOMALIB = "anomalib 2.7.0, anomalib/models/image/{}/README.md"
SUPERSIMPLENET = (
    "blaz-r/SuperSimpleNet at 9c6867c, paper_results/results_avg_std.json (the figures of Rolih et al., ICPR "
    "2024, mean of five runs; settings in train.py)"
)


@dataclass(frozen=True)
class Published:
    """An image AUROC that somebody else measured.

    Args:
        image_set: ours of the same category.
        method: with what varies between figures of one method.
        backbone: pretrained.
        size: of the images that it sees.
        auroc: as it stands in the source, to three digits.
        source: where it stands.
    """

    image_set: str
    method: str
    backbone: str
    size: str
    auroc: float
    source: str


PUBLISHED = (
    Published(
        "screw",
        "PatchCore, 1 % of the patches",
        "Wide ResNet-50",
        "320 px of 366",
        0.989,
        PATCHCORE.format("IM320_WR50_L2-3_P001_D1024-1024_PS-3_AN-1"),
    ),
    Published(
        "screw",
        "PatchCore, 10 % of the patches",
        "Wide ResNet-50",
        "224 px of 256",
        0.988,
        PATCHCORE.format("IM224_WR50_L2-3_P01_D1024-1024_PS-3_AN-1"),
    ),
    Published(
        "screw", "MH-PatchCore", "Wide ResNet-50", "224 px of 256", 0.940, ANOMALIB.format("mh_patchcore")
    ),
    Published("screw", "SuperSimpleNet", "Wide ResNet-50", "256 px", 0.929, SUPERSIMPLENET),
    Published(
        "screw",
        "GLASS, its best checkpoint",
        "Wide ResNet-50",
        "288 px",
        0.909,
        ANOMALIB.format("glass"),
    ),
    Published("capsules", "SuperSimpleNet", "Wide ResNet-50", "256 px", 0.815, SUPERSIMPLENET),
)

CAPTION = """\
`screw` (MVTec AD) and `capsules` (VisA) are whole public categories with their official splits. Ours and \
the peers that were run here see images that were reduced to 512 pixels a side before, through a smaller \
backbone; the others' figures are as published. *N px of M* is a crop from the middle of images of M pixels. \
Figures stand in the sources named below the tables; methods whose source could not be read from here are \
missing, not bad.
"""


def beside_ours(rows: Sequence[dict[str, Any]]) -> str:
    """Returns, for each of the sets, what was measured here and what others published, best first."""
    parts = [CAPTION]
    sources = list(dict.fromkeys(one.source for one in PUBLISHED))
    for image_set in dict.fromkeys(one.image_set for one in PUBLISHED):
        lines = [
            (
                one.auroc,
                [one.method, one.backbone, one.size, f"{one.auroc:.3f}", str(sources.index(one.source) + 1)],
            )
            for one in PUBLISHED
            if one.image_set == image_set
        ]
        for name, entry in METHODS.items():
            own = [row["image_auroc"] for row in rows if row["variant"] == name and row["set"] == image_set]
            if own:
                found = moments(own)
                lines.append((found["mean"], [entry.title, *entry.input, with_spread(found), "here"]))
        ordered = [line for _, line in sorted(lines, key=lambda line: -line[0])]
        parts.append(markdown([image_set, "backbone", "sees", "image AUROC", "source"], ordered))
    parts.append("\n".join(f"{i}. {source}" for i, source in enumerate(sources, 1)) + "\n")
    return "\n".join(parts)
