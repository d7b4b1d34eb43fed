"""The list of docs/doctor.md, and whether what the doctor says is what the list has. No tests here."""

import re

from octy_worker.cli.doctor.check import Check, Problem
from support.paths import ROOT

PAGE = (ROOT / "docs" / "doctor.md").read_text()


def words(text: str) -> str:
    """Return a text of the list as the page has it."""
    return re.sub(r"\{\w+(!r)?\}", "…", text)


def fits(problem: Problem, check: Check) -> bool:
    """Return whether a check's texts are the problem's, with something in each gap."""
    return all(
        re.fullmatch(".*".join(map(re.escape, words(template).split("…"))), told, re.DOTALL)
        for template, told in ((problem.name, check.name), (problem.found, check.found), (problem.to_do, check.to_do))
    )
