"""The report of an import: its JSON, sentences and errors. The fields are the names of the command's JSON."""

from dataclasses import dataclass

from octy_worker.formatting import format_count
from octy_worker.imports.planner import Plan
from octy_worker.imports.reader import RowError
from octy_worker.imports.validator import IN_CLEAR

_SHOWN = 50  # errors
_FROM_LIBRARIES = ("argon2", "bcrypt", "django_bcrypt")


@dataclass(frozen=True, slots=True)
class HashLine:
    """How many pairs have a hash of this scheme and rough cost."""

    kind: str
    pairs: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or without `imported` would do. `errors` counts all, `first_errors` shows some."""

    imported: bool
    rows: int
    rows_sha256: str
    accounts: int
    pairs: int
    already_there: int
    hashes: tuple[HashLine, ...]
    errors: int
    first_errors: tuple[RowError, ...]


def report(plan: Plan, *, imported: bool) -> ImportReport:
    """Return the plan as numbers and first errors."""
    return ImportReport(
        imported=imported,
        rows=plan.rows,
        rows_sha256=plan.digest,
        accounts=len(plan.accounts),
        pairs=len(plan.pairs),
        already_there=plan.already_there,
        hashes=tuple(HashLine(kind, count) for kind, count in plan.kinds().items()),
        errors=len(plan.errors),
        first_errors=tuple(plan.errors[:_SHOWN]),
    )


def sentences(plan: Plan, *, imported: bool) -> list[str]:
    """Return what was done, or would be."""
    verb = "are imported" if imported else "would be imported; nothing was written"
    lines = [
        f"{format_count(len(plan.pairs), 'key pair')} and {format_count(len(plan.accounts), 'new account')} {verb}."
    ]
    if plan.already_there:
        lines.append(f"{format_count(plan.already_there, 'row')} skipped: already in the database, unchanged.")
    if plan.added:
        notified = "Notified by mail and webhook" if imported else "To be notified by mail and webhook"
        lines.append(f"{notified}: {format_count(len(plan.added), 'customer')} whose account existed already.")
    if plan.pairs:
        lines.append(f"Hashes: {', '.join(f'{count:,} {kind}' for kind, count in plan.kinds().items())}.")
    if any(kind.startswith(_FROM_LIBRARIES) for kind in plan.kinds()):
        lines.append("The apps need the libraries of these hashes too: pip install 'octy-middleware[imports]'")
    return lines


def error_lines(plan: Plan) -> list[str]:
    """Return the first errors, a line each."""
    return [_error_line(error) for error in plan.errors[:_SHOWN]]


def _error_line(error: RowError) -> str:
    place = f"line {error.line}, {error.column}" if error.column else f"line {error.line}"
    return f"{place}: {error.wrong} → {error.to_do}" if error.to_do else f"{place}: {error.wrong}"


def refusal_texts(plan: Plan) -> tuple[str, str]:
    """Return why nothing was imported, and what to do."""
    shown = f", the first {_SHOWN} are shown" if len(plan.errors) > _SHOWN else ""
    wrong = f"{format_count(len(plan.errors), 'error')}{shown}; nothing was imported"
    if any(error.wrong == IN_CLEAR for error in plan.errors):
        return f"the file contains secret keys in clear text: {wrong}", "delete it and export hashes instead"
    return wrong, "correct the file and run the import again"
