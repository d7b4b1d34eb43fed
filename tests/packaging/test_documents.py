"""Documents name only what exists: tests, linked files, and the files and functions of docs/architecture.md."""

import ast
import itertools
import re
import tomllib
from functools import cache

import pytest
from support.paths import ROOT

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
def test_every_named_test_exists(file: str, name: str) -> None:
    assert name in functions(file)


@pytest.mark.parametrize(
    "document",
    ["README.md", "CONTRIBUTING.md", "SECURITY.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))],
)
def test_links_to_files_lead_to_existing_files(document: str) -> None:
    place = ROOT / document
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", place.read_text("utf-8"))
    assert [link for link in links if not (place.parent / link).exists()] == []


STEP = re.compile(r"^\d\. (By \w+: )?`([\w/]+)\.py` `([\w.]+)`: ", re.MULTILINE)
MOST_STEPS = 8


def walks() -> dict[str, list[tuple[str, str, str]]]:
    """The walks of docs/architecture.md by title; each step is its mark, its file and its function."""
    _, *sections = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("\n### ")
    return {section.partition("\n")[0]: STEP.findall(section) for section in sections}


WALKS = walks()


def qualified_names(source: str) -> set[str]:
    """The functions of a module, and its methods as `Class.method`."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(source).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    methods = {f"{owner.name}.{node.name}" for owner in classes for node in owner.body if isinstance(node, functions)}
    return methods | {node.name for node in body if isinstance(node, functions)}


def layers() -> list[set[str]]:
    """The layers of the import contracts, from top to bottom, as dotted names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    return [
        {f"{container}.{name.strip()}" for name in layer.split("|")}
        for contract in contracts
        for container in contract.get("containers", ())
        for layer in contract["layers"]
    ]


def layer_of(file: str) -> int:
    path = file.removeprefix("worker/").removeprefix("workflows/")
    package = ".".join(path.split("/")[:2])
    return next((number for number, names in enumerate(layers()) if package in names), -1)  # -1: no contract of layers


@pytest.mark.parametrize("walk", WALKS)
def test_walk_has_at_most_eight_steps_and_each_names_a_function(walk: str) -> None:
    numbered = re.findall(r"^\d+\. ", (ROOT / "docs" / "architecture.md").read_text("utf-8"), re.MULTILINE)
    assert len(numbered) == sum(map(len, WALKS.values()))  # every step has the form that is checked here
    assert 3 <= len(WALKS[walk]) <= MOST_STEPS
    missing = [
        (file, name)
        for _, file, name in WALKS[walk]
        if name not in qualified_names((ROOT / f"{file}.py").read_text("utf-8"))
    ]
    assert missing == []


@pytest.mark.parametrize("walk", WALKS)
def test_walk_goes_down_through_the_layers(walk: str) -> None:
    steps = WALKS[walk]
    up = [
        (before, file)
        for (_, before, _), (mark, file, _) in itertools.pairwise(steps)
        if not mark and (before.split("/")[0] != file.split("/")[0] or layer_of(file) < layer_of(before))
    ]
    assert up == []


def test_packages_of_the_architecture_page_exist_in_the_order_of_the_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("## Walks")[0]
    order = [name for layer in layers() for name in sorted(layer)]
    for package, top in (
        ("octy_middleware", "`octy_middleware`, from top"),
        ("octy_worker", "`octy_worker`, from top"),
    ):
        table = page.partition(top)[2].partition("\n\n")[2].partition("\n\n")[0]
        rows = [re.findall(r"`(\w+)/?`", row.split("|")[1]) for row in table.splitlines()[2:]]
        named = [f"{package}.{name}" for row in rows for name in row]
        assert set(named) <= set(order)
        assert named == sorted(named, key=order.index)


def test_words_of_the_glossary_that_are_code_exist() -> None:
    rows = re.findall(r"^\|[^|]*\|[^|]*\|([^|]*)\|", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE)
    files = [name for row in rows for name in re.findall(r"`([a-z_]+/[\w/.]+)`", row)]
    assert len(files) >= 30
    assert [name for name in files if not (ROOT / name).exists()] == []
