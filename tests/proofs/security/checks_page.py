"""The rows of `checks_removed` as docs/staff-checks.md, and as a table for a terminal."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from support.paths import ROOT

from proofs.security.checks.check import Check

_HEAD = """\
# Staff: what each check is for

Each row is a check behind [`docs/staff.md`](staff.md) that `python -m proofs.security.checks_removed` removes once, in
a copy of the packages, by a small edit of its source. The tests of the row must then fail, by an assertion; with the
check they pass. The exact edits are in `tests/proofs/security/checks`, from which this page is written (`--write
docs/staff-checks.md`); `make proofs` compares it, and that each check still stands where it stood. Where a second check
refuses the same, the row says "nothing alone": the first one counts on the day on which the second has a mistake.
"""


def as_markdown(sections: Mapping[str, Sequence[Check]]) -> str:
    """Return the page."""
    lines = [_HEAD]
    for title, checks in sections.items():
        lines += [f"## {title}", "", "| what is refused | check | without it | tests |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(_cells(check))} |" for check in checks]
        lines.append("")
    return "\n".join(lines)


def _cells(check: Check) -> tuple[str, ...]:
    where = f"`{check.path.relative_to(ROOT)}`: `{check.first_line}`"
    return check.name, where, check.gain, "<br>".join(f"`{test}`" for test in check.tests)


def as_table(checks: Sequence[Check], problems: Mapping[str, str]) -> Table:
    """Return the rows for a terminal. `problems`: by name of the row."""
    table = Table("what is refused", "check", "tests", "without it", "", show_lines=True)
    for check in checks:
        tests = "\n".join(test.partition("::")[2] for test in check.tests)
        state = "NOT NOTICED" if check.name in problems else "noticed"
        table.add_row(check.name, check.first_line, tests, check.gain, state)
    return table
