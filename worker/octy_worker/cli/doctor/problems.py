"""Every problem that `octy doctor` can find, by its code: the one place from which a check comes that is wrong.

`docs/doctor.md` lists them, and a test provokes each.
"""

from octy_worker.cli.doctor.check import Check, State
from octy_worker.cli.doctor.problems_of_network import MAIL_SERVER, OBSERVATION, PAGES, TEMPORAL
from octy_worker.cli.doctor.problems_of_results import RESULTS
from octy_worker.cli.doctor.problems_of_setup import DATABASE, MAILS, RESTORED, SETTINGS, TASKS

PROBLEMS = {
    **SETTINGS,
    **DATABASE,
    **TEMPORAL,
    **RESTORED,
    **TASKS,
    **OBSERVATION,
    **MAILS,
    **MAIL_SERVER,
    **PAGES,
    **RESULTS,
}


def problem(code: str, /, **values: object) -> Check:
    """Return the check of a problem, its words filled with what was found."""
    found = PROBLEMS[code]
    name, said, to_do = (text.format(**values) for text in (found.name, found.found, found.to_do))
    return Check(name, State.WRONG, said, to_do, code)
