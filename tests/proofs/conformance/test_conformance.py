"""Every cell of the table, over TCP, and the document that says so."""

from collections.abc import Iterator

import pytest
from support.paths import DOCS

from proofs.conformance import apache
from proofs.conformance.accounts import sample_key_pairs
from proofs.conformance.cases import table
from proofs.conformance.cells import ALL_CELLS, Cell
from proofs.conformance.known_differences import DIFFERENCES
from proofs.conformance.pipeline import Pipeline, pipeline
from proofs.conformance.table import case_lines

DOCUMENT = DOCS / "conformance.md"


@pytest.fixture(scope="session")
def running_cells(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Run the selected cells only, in their order."""
    cells = [item.callspec.params["cell"] for item in request.session.items if "running_cells" in item.fixturenames]
    found = [cell for cell in cells if cell.server.is_installed]
    with pipeline(tmp_path_factory.mktemp("conformance"), found) as made:
        yield made


@pytest.mark.parametrize("cell", ALL_CELLS, ids=str)
def test_cell(cell: Cell, running_cells: Pipeline) -> None:
    if not cell.server.is_installed:
        pytest.skip(f"left out: needs {apache.NEEDS}")
    faults = running_cells.report(cell).faults
    assert not faults, "\n".join(faults)


def test_document_names_the_cases_of_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    documented = [line for line in text[text.index("## Cases") :].splitlines() if line.startswith("- ")]
    assert documented == case_lines()


def test_document_names_every_difference() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [item.why for item in DIFFERENCES if item.why not in text] == []


def test_every_difference_names_existing_cases_and_cells() -> None:
    cases = {case.title: case for case in table(sample_key_pairs())}
    for item in DIFFERENCES:
        cells = [cell for cell in ALL_CELLS if item.holds(cell)]
        named = {name for cell in cells for name in (cell.server.name, cell.server.name.partition(",")[0])}
        assert set(item.servers) <= named
        assert set(item.results) <= cases.keys()
        for title in item.results:
            assert item.result_of(cases[title]) != cases[title].expected
