"""What is raised inside `except*` becomes a group before Python 3.11.4, which nobody catches who expects an error."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(path for part in ("ottoscaler", "tests", "examples") for path in (ROOT / part).rglob("*.py"))


def raised_in_star(source: str) -> list[int]:
    """The lines of `raise` statements inside `except*` blocks."""
    handlers = [
        handler
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.TryStar)
        for handler in node.handlers
    ]
    return [node.lineno for handler in handlers for node in ast.walk(handler) if isinstance(node, ast.Raise)]


def test_such_a_raise_is_found() -> None:
    assert raised_in_star("try:\n    f()\nexcept* ValueError as group:\n    raise E from None\n") == [4]


def test_nothing_is_raised_there() -> None:
    found = {str(file.relative_to(ROOT)): raised_in_star(file.read_text()) for file in FILES}
    assert {name: lines for name, lines in found.items() if lines} == {}
