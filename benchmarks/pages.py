"""Puts the committed benchmark tables into README.md and the pages of the documentation.

python -m benchmarks.pages          # rewrites what stands between table markers
python -m benchmarks.pages --check  # exits with 1 if a page does not hold the committed tables
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def pages() -> list[Path]:
    """Returns README.md and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def with_tables(text: str) -> str:
    """Returns the text with each marked stretch replaced by the file that its marker names."""
    return MARKED.sub(lambda m: m[1] + _spaced((ROOT / m[2]).read_text(encoding="utf-8")) + m[3], text)


def _spaced(text: str) -> str:
    """Returns Markdown with an empty line before each table, without which MkDocs takes it for text."""
    return re.sub(r"^([^|\n].*\n)(?=\|)", r"\1\n", text, flags=re.MULTILINE).strip() + "\n"


def update(*, check: bool = False) -> list[Path]:
    """Brings the pages up to date, unless they are only to be checked; returns those that were not."""
    stale = []
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = with_tables(before)
        if after != before:
            stale.append(page)
            if not check:
                page.write_text(after, encoding="utf-8")
    return stale


def main() -> int:
    check = "--check" in sys.argv
    stale = update(check=check)
    for page in stale if check else []:
        print(f"{page} does not hold the committed tables; run python -m benchmarks.pages", file=sys.stderr)
    return int(bool(stale) and check)


if __name__ == "__main__":
    sys.exit(main())
