"""The tree of errors at the top of shared/errors.py is the one that the classes form."""

import re

from shared import errors
from shared.errors import CutdropError


def below(kind: type[CutdropError], depth: int = 0) -> list[tuple[int, str, str]]:
    """(depth, name, code) of a class and of all below it, in order of definition."""
    found = [(depth, kind.__name__, str(getattr(kind, "code", "")))]
    for child in kind.__subclasses__():
        found += below(child, depth + 1)
    return found


def test_the_tree_shows_every_error_below_its_parent_with_its_code_and_status() -> None:
    drawn = re.findall(
        r"^([│├└─ ]*)(\w+) *([a-z_]+(?:, \d+)?|.*)$", str(errors.__doc__).partition("\n\n")[2], re.MULTILINE
    )
    shown = [(len(lines) // 4, name, said.partition(",")[0]) for lines, name, said in drawn]
    for depth, name, code in below(CutdropError):
        (told,) = [said for level, other, said in shown if (level, other) == (depth, name)]
        assert depth < 2 or told == code, name
    assert len(shown) == len(below(CutdropError))


def test_every_code_is_one_error_s_alone() -> None:
    codes = [*errors.FAILURE_CODES, *errors.RETRY_CODES]
    assert len(codes) == len(set(codes)) > 10
