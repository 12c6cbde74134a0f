"""This module says what the names of folders mean: good parts, defects, masks, or nothing that is clear.

Case, spaces, dots, dashes and underscores do not matter: `OK`, `i.O.` and `Defect_Free` mean good.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

GOOD = "good"
"""Label of normal images, whatever their folder is called."""

MASKS = "ground_truth"
"""Name of the folder of masks, as messages spell it."""

GOOD_NAMES: Sequence[str] = (
    *("good", "ok", "okay", "normal", "pass", "passed", "io", "gut", "bon", "bonne", "bueno", "buono"),
    *("defect free", "no defect", "no defects", "non defective", "not defective", "anomaly free"),
    *("no anomaly", "flawless", "intact", "healthy", "conforme"),
    *("양품", "정상", "良品", "合格", "正常", "合格品", "正常品"),
)  # fmt: skip
"""Names of folders that hold good parts."""

DEFECTIVE_NAMES: Sequence[str] = (
    *("bad", "ng", "nok", "ko", "nio", "not ok", "not good", "no good", "not normal", "not passed"),
    *("defect", "defects", "defective", "abnormal", "anomaly", "anomalies", "anomalous", "fault", "faulty"),
    *("fail", "failed", "reject", "rejected", "rejects", "scrap", "schlecht", "ausschuss", "broken"),
    *("damaged",),
    *("불량", "불량품", "不良", "不良品", "不合格", "异常", "異常"),
)  # fmt: skip
"""Names of folders that hold defects of no particular kind."""

MASK_NAMES: Sequence[str] = (
    *("ground_truth", "ground truths", "gt", "mask", "masks", "segmentation", "segmentations"),
    *("segmentation mask", "segmentation masks", "defect masks", "anomaly masks"),
)
"""Names of folders that hold masks."""

# What may be either: numbers, single letters, and words of classification.
_NO_WORD = re.compile(r"(class|label|type|kategorie)?\d+|[a-z]|positive|negative|pos|neg|true|false|yes|no")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+")


def _squeezed(name: str) -> str:
    """Returns a name without what does not matter in it."""
    # NFKC: full-width letters, and letters that macOS takes apart.
    return re.sub(r"[\s._-]+", "", unicodedata.normalize("NFKC", name).casefold())


_GOOD, _DEFECTIVE, _MASKS = (frozenset(map(_squeezed, n)) for n in (GOOD_NAMES, DEFECTIVE_NAMES, MASK_NAMES))


def means_good(name: str, good: Collection[str] = ()) -> bool:
    """Says whether a folder of this name holds good parts.

    Args:
        name: of a folder.
        good: the names that mean it beside 'good' itself, in place of `GOOD_NAMES`.
    """
    return _squeezed(name) in ({GOOD, *map(_squeezed, good)} if good else _GOOD)


def means_defective(name: str) -> bool:
    """Says whether a folder of this name holds defective parts for certain."""
    return _squeezed(name) in _DEFECTIVE


def means_masks(name: str) -> bool:
    """Says whether a folder of this name holds masks."""
    return _squeezed(name) in _MASKS


def is_unclear(name: str) -> bool:
    """Says whether a name may mean good parts as well as a defect: `good_parts`, `OK-2`, `class0`, `1`."""
    if means_good(name) or means_defective(name):
        return False
    words = {_squeezed(word) for word in _WORDS.findall(unicodedata.normalize("NFKC", name))}
    return bool(_NO_WORD.fullmatch(_squeezed(name))) or not words.isdisjoint(_GOOD)
