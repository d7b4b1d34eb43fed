"""docs/states.md names every state, and an existing test for each transition."""

import ast
import re
from functools import cache

import pytest
from support.paths import TESTS

from octy_middleware.states import RegenerationState
from octy_workflows.messages import IncidentState, NoticeFinalState, RegenerationFinalState, Resolution

DOCUMENT = (TESTS.parent / "docs" / "states.md").read_text("utf-8")
_QUOTED = re.compile(r"`((?:[a-z_]+/[a-z_]+\.py::\w+)?(?:\[\w+\])?)`")


def rows() -> list[list[str]]:
    """Return the cells of every line of every table, but for heads and rules."""
    lines = [line for line in DOCUMENT.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named() -> list[tuple[str, str, str]]:
    """Return file, function and case of every test that is named; `[case]` alone is another one of the same test."""
    found, last = [], ("", "")
    for text in _QUOTED.findall(DOCUMENT):
        place, _, case = text.partition("[")
        if place:
            last = tuple(place.split("::"))
        found.append((*last, case.rstrip("]")))
    return found


@cache
def functions(file: str) -> dict[str, str]:
    """Return the source of every test of a file."""
    text = (TESTS / file).read_text("utf-8")
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name: text for node in nodes if node.name.startswith("test_")}


def _is_there(file: str, function: str, case: str) -> bool:
    return function in functions(file) and (not case or f'"{case}"' in functions(file)[function])


@pytest.mark.parametrize("file", sorted({file for file, *_ in named()}))
def test_every_named_test_exists(file: str) -> None:
    missing = [
        f"{function}[{case}]"
        for named_file, function, case in named()
        if named_file == file and not _is_there(file, function, case)
    ]
    assert missing == []


def test_every_row_of_a_transition_table_names_a_test() -> None:
    heads = [row for row in rows() if row[-1] == "test"]
    ways = [row for row in rows() if len(row) >= 2 and "::" in row[-1]]
    assert len(heads) == 4
    assert len(ways) > 60
    tables = re.split(r"\n\n", DOCUMENT)
    with_tests = [table for table in tables if table.splitlines()[0].strip().endswith("| test |")]
    assert len(with_tests) == len(heads)
    nameless = [line for table in with_tests for line in table.splitlines()[2:] if "::" not in line]
    assert nameless == []


@pytest.mark.parametrize("kind", [IncidentState, RegenerationFinalState, NoticeFinalState, RegenerationState])
def test_every_state_and_resolution_is_explained(kind: type) -> None:
    described = {row[0] for row in rows() if len(row) < 4 and row[1]}
    assert {f"`{state}`" for state in kind} - described == set()


def test_every_resolution_is_reached_by_a_transition() -> None:
    assert set(re.findall(r"\| `closed` `(\w+)` \|", DOCUMENT)) == {str(resolution) for resolution in Resolution}


@pytest.mark.parametrize("kind", [IncidentState, RegenerationState])
def test_every_state_is_reachable_and_every_open_one_has_an_exit(kind: type) -> None:
    ways = [(row[0], row[1]) for row in rows() if len(row) == 4 and "::" in row[-1]]
    reached = {word for _, to in ways for word in re.findall(r"`(\w+)`", to)}
    left = {word for source, to in ways for word in re.findall(r"`(\w+)`", source) if source != to}
    ends = {IncidentState.CLOSED, *RegenerationFinalState}
    assert {str(state) for state in kind} <= reached
    assert {str(state) for state in kind} - {str(end) for end in ends} <= left
