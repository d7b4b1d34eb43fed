"""What documents name is there: tests in docs/security.md and docs/faults.md, files that the README leads to."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
NAMED = [
    found
    for document in ("security.md", "faults.md")
    for found in re.findall(r"`([a-z_]+/[a-z_0-9]+\.py)::(\w+)`", (ROOT / "docs" / document).read_text("utf-8"))
]


@cache
def functions(file: str) -> set[str]:
    return {node.name for node in ast.walk(ast.parse((TESTS / file).read_text("utf-8"))) if hasattr(node, "name")}


def test_every_threat_has_a_row() -> None:
    rows = re.findall(r"^\| (T\d+) \|", (ROOT / "docs" / "security.md").read_text("utf-8"), re.MULTILINE)
    numbers = [int(row.removeprefix("T")) for row in rows]
    assert numbers == sorted(set(numbers))
    assert set(range(1, 20)) <= set(numbers)
    assert len(NAMED) >= 30


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    assert name in functions(file)


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_to_files_lead_somewhere(document: str) -> None:
    place = ROOT / document
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", place.read_text("utf-8"))
    assert [link for link in links if not (place.parent / link).exists()] == []
