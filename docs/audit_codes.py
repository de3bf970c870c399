"""Writes the table of codes in docs/audit.md: python docs/audit_codes.py. A test fails where it is stale."""

import re
from pathlib import Path

from imagemask.audit import CODES

PAGE = Path(__file__).with_name("audit.md")
_BETWEEN = re.compile(r"(?<=<!-- codes -->\n).*?(?=<!-- end of codes -->)", re.DOTALL)


def table() -> str:
    """The table's lines: a code each, in order."""
    lines = ["| code | severity | what it is | why it matters | what to do |", "|---|---|---|---|---|"]
    lines += [f"| {code} | {one.severity} | {one.title} | {one.why} | {one.remedy} |" for code, one in CODES.items()]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with a fresh table."""
    return _BETWEEN.sub(lambda _: table(), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
