"""Every problem that `octy doctor` can find, by code. `docs/doctor.md` lists them, and a test provokes each."""

from octy_worker.cli.doctor.check import Check, State
from octy_worker.cli.doctor.problems_network import MAIL_SERVER, OBSERVABILITY, PAGES, STAFF_API, TEMPORAL
from octy_worker.cli.doctor.problems_setup import AUDIT, DATABASE, MAILS, RESTORED, SCHEDULED_JOBS, SETTINGS
from octy_worker.cli.doctor.problems_staff import STAFF
from octy_worker.cli.doctor.problems_stalled_work import STALLED_WORK

PROBLEMS = {
    **SETTINGS,
    **DATABASE,
    **TEMPORAL,
    **RESTORED,
    **SCHEDULED_JOBS,
    **AUDIT,
    **OBSERVABILITY,
    **MAILS,
    **MAIL_SERVER,
    **PAGES,
    **STAFF_API,
    **STAFF,
    **STALLED_WORK,
}


def problem_of(code: str, error: object) -> Check:
    """Return the check of a problem that an error describes: what is wrong and, after an arrow, what to do."""
    wrong, _, to_do = str(error).partition(" → ")
    return problem(code, error=wrong, to_do=to_do)


def problem(code: str, /, **values: object) -> Check:
    """Return the check of a problem, its texts filled with the values."""
    texts = PROBLEMS[code]
    name, found, to_do = (text.format(**values) for text in (texts.name, texts.found, texts.to_do))
    return Check(name, State.PROBLEM, found, to_do, code)
