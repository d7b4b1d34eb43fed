"""Every problem that `octy doctor` can find, by its code: the one place from which a check comes that is wrong.

`docs/doctor.md` lists them, and a test provokes each.
"""

from octy_worker.cli.doctor.check import Check, State
from octy_worker.cli.doctor.problems_network import MAIL_SERVER, OBSERVATION, PAGES, TEMPORAL
from octy_worker.cli.doctor.problems_setup import DATABASE, MAILS, RESTORED, SETTINGS, TASKS
from octy_worker.cli.doctor.problems_stalled_work import STALLED_WORK

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
    **STALLED_WORK,
}


def problem(code: str, /, **values: object) -> Check:
    """Return the check of a problem, its words filled with what was found."""
    found = PROBLEMS[code]
    name, said, to_do = (text.format(**values) for text in (found.name, found.found, found.to_do))
    return Check(name, State.PROBLEM, said, to_do, code)
