"""What a case must come to in a cell: as the table says, or as a known difference says.

Here: finding the one that holds. Not here: the table (`cases`), the differences.
"""

from proofs.conformance.cases import Case
from proofs.conformance.cells import CaseResult, Cell
from proofs.conformance.known_differences import DIFFERENCES, Difference


def expected(case: Case, cell: Cell) -> CaseResult:
    """Return what the case must come to in the cell."""
    difference = known_difference(case, cell)
    answers, recorded = (case.answers, case.recorded) if difference is None else difference.results[case.title]
    return CaseResult((answers,) if isinstance(answers, str) else answers, recorded)


def known_difference(case: Case, cell: Cell) -> Difference | None:
    """Return the known difference of this case in this cell. The last one that holds is the most special."""
    holding = [item for item in DIFFERENCES if case.title in item.results and item.holds(cell)]
    return holding[-1] if holding else None


def expected_of_the_middleware(case: Case) -> CaseResult:
    """Return what the case comes to where no server is: as the table says, but for known defects of our own."""
    for item in DIFFERENCES:
        if item.is_defect and case.title in item.results:
            answers, recorded = item.results[case.title]
            return CaseResult((answers,) if isinstance(answers, str) else answers, recorded)
    return CaseResult(case.answers, case.recorded)
