"""Whatever is caught or ignored broadly says why, in a comment on its line or on the line before."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "recompviz"
BROAD = re.compile(r"^\s*except( (Exception|BaseException)\b.*)?:|\bsuppress\(|# type: ignore|# (ruff: )?noqa")
PRAGMA = re.compile(r"# type: ignore\[[a-z, -]+\]|# (ruff: )?noqa: [A-Z0-9, ]+")
REASON = re.compile(r"# ?\S+ \S|[(-] ?[A-Za-z]\S* \S")


def without_reason(text: str) -> Iterator[str]:
    """Yield the lines of a program that need a reason and have none. A pragma without a code never has one."""
    before = ""
    for line in text.splitlines():
        if BROAD.search(line):
            pragma = PRAGMA.search(line)
            said = line[pragma.end() :] if pragma else line.partition("#")[2] and "#" + line.partition("#")[2]
            bare = re.search(r"type: ignore(?!\[)|noqa(?!:)", line)
            if bare or not (REASON.search(said) or before.lstrip().startswith("# ")):
                yield line.strip()
        before = line


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("except Exception:", True),
        ("except:", True),
        ("except BaseException as error:  # also an interrupt", False),
        ("# the file may be gone\nwith contextlib.suppress(OSError):", False),
        ("with contextlib.suppress(OSError):", True),
        ("x = y  # type: ignore[misc]", True),
        ("x = y  # type: ignore  # a reason", True),
        ("x = y  # type: ignore[misc]  # not annotated", False),
        ("import x  # noqa: F401", True),
        ("import x  # noqa: F401 (only tried)", False),
        ("except ValueError:", False),
    ],
)
def test_what_needs_a_reason(text: str, found: bool) -> None:
    assert bool(list(without_reason(text))) == found


def test_whatever_is_caught_or_ignored_broadly_says_why() -> None:
    found = [
        f"{path.relative_to(PACKAGE.parent)}: {line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in without_reason(path.read_text(encoding="utf-8"))
    ]
    assert found == []
