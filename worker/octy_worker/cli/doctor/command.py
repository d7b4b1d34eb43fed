"""`octy doctor`: options and help text."""

import typer

from octy_worker.cli.doctor import State, run_checks
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import print_json, print_page
from octy_worker.cli.variables import variables_of
from octy_worker.cli.views import doctor as view

DOCTOR_JSON = "ok, checks[name, state: ok | problem | unchecked, found, to_do, code]"


@help_page(
    "octy --env-file octy.env doctor",
    "octy doctor --json | jq '.checks[] | select(.state != \"ok\")'",
    more="It checks settings, packages, database, outbox, Temporal and its workers, mail server and pages; then the "
    "work itself: alerts, incidents, keys, mails, webhooks, commits, a test write, clocks. It leaves no changes and "
    "sends no mail. Run it where the worker runs, with the worker's settings. Exit code 1: problems found, or checks "
    "that could not be made.",
    json=DOCTOR_JSON,
)
def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Run all checks."""
    checks = run_checks(variables_of(context), context.find_root().params.get("env_file"))
    ok = all(check.state is State.OK for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": checks})
    else:
        print_page(*view.page(checks))
    raise typer.Exit(ExitCode.OK if ok else ExitCode.FAILED)
