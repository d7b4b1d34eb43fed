"""`octy secrets`: a complete set of keys, new or rotated."""

from pathlib import Path
from typing import Annotated

import typer

from octy_middleware.keys.keychain import Keychain
from octy_worker.cli.files import report_unwritable
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.variables import Variables, variables_of
from octy_worker.errors import UsageError
from octy_worker.private_files import write_private
from octy_worker.settings import KEY_SETTINGS, WorkerSettings


@help_page(
    "octy secrets --out octy.env",
    "octy --env-file octy.env secrets --rotate --out new.env",
    more="They are secrets: keep them outside the database and its backups. An existing installation must keep its "
    "keys: without its peppers no key pair can be verified.\n\n"
    "To rotate keys, --rotate prints the current keys, each followed by a new one. The last key is used for new data, "
    "the others stay readable. Rotate peppers in two steps, because an app without a key pair's pepper responds 503: "
    "first put the new pepper before the current one in all apps and workers, then give all of them this output.\n\n"
    "When an old key may be removed: a pepper once `octy doctor` reports no problem without it; a sealing or link key "
    "after 14 days; a webhook key once customers have the secrets of the next one; a key of Temporal's payloads once "
    "no workflow that it encrypted runs or is retained. Keep all keys of OCTY_STAFF_KEYS and OCTY_AUDIT_KEYS: rows of "
    "staff, and checkpoints of the audit log, are checked with those under which they were written.",
)
def secrets(
    context: typer.Context,
    rotate: Annotated[bool, typer.Option("--rotate", help="Add a new key to each of the current ones.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this new file, readable by you alone, instead of stdout."),
    ] = None,
) -> None:
    """Print keys, or write them to a file."""
    lines = _secrets(variables_of(context), rotate=rotate)
    if out is None:
        typer.echo("\n".join(lines))
        return
    with report_unwritable(out):
        write_private(out, "".join(f"{line}\n" for line in lines), new=True)


def _secrets(variables: Variables, *, rotate: bool) -> list[str]:
    names = {f"OCTY_{purpose.upper()}": WorkerSettings.model_fields[purpose] for purpose in KEY_SETTINGS}
    if not rotate:
        return [f"{name}={Keychain.generate().export()}" for name in names]
    lines = []
    for name, setting in names.items():
        if variables.get(name):
            lines.append(f"{name}={_with_new_key(Keychain.parse(variables[name], name=name)).export()}")
        elif setting.is_required():  # an installation without the others has none to rotate
            raise UsageError(
                f"{name} is not set, so it can't be rotated", "name the file with the current keys with --env-file"
            )
    return lines


def _with_new_key(keys: Keychain) -> Keychain:
    """Return the keys followed by a new one with a new id."""
    new = next(new for new in iter(keys.generate, None) if new.newest[0] not in keys)
    return type(keys)({**keys, **new})
