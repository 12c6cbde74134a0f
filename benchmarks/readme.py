"""Put the committed benchmark tables into README.md.

python benchmarks/readme.py          # rewrites README.md between its table markers
python benchmarks/readme.py --check  # exits with 1 if README.md does not hold the committed tables
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """The text with each marked stretch replaced by the table file that its marker names."""
    return MARKED.sub(lambda m: m[1] + (ROOT / m[2]).read_text(encoding="utf-8") + m[3], text)


def update(*, check: bool = False) -> bool:
    """Bring README.md up to date, unless it is only to be checked; whether it was up to date already."""
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = with_tables(before)
    if not check:
        readme.write_text(after, encoding="utf-8")
    return before == after


def main() -> int:
    check = "--check" in sys.argv
    return int(not update(check=check) and check)


if __name__ == "__main__":
    sys.exit(main())
