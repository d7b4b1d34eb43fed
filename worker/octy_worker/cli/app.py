"""The `octy` command: every command by name, with the module that runs it, and the options before them."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from octy_worker.cli.help_text import exit_code_table, help_text
from octy_worker.cli.lazy_command import LazyCommand
from octy_worker.cli.main_group import MainGroup
from octy_worker.cli.variables import load_variables

PANEL_NAMES = {
    "For support staff": (
        "login",
        "logout",
        "sessions",
        "find",
        "accounts",
        "incidents",
        "keys",
        "orders",
        "outbox",
        "webhooks",
    ),
    "For admins of staff": ("staff",),
    "For operators": ("worker", "pages", "codec-server", "doctor", "secrets", "audit", "mail", "db", "temporal"),
    "To try it out": ("dev", "demo"),
}
_GROUPS = {
    "accounts": "Customers: contact data, key pairs and incidents.",
    "incidents": "Incidents: repeated failed attempts with one key pair, and the answers to them.",
    "keys": "Key pairs: state, use, replacement and revocation.",
    "orders": "Orders of staff: signed acts, and approvals by a second person.",
    "outbox": "Undelivered outbox messages and dead letters.",
    "webhooks": "Webhooks: events sent to customers' own servers.",
    "audit": "The audit log: what staff, customers and workers did, and the proof that it is whole.",
    "sessions": "Your sessions at a staff API; an admin's view of everybody's.",
    "staff": "Staff: who may act, in which role, and how they prove it.",
    "staff ca": "The built-in certificate authority, for those who run none.",
    "mail": "Mails to customers: preview, test and DKIM.",
    "db": "The database: schema, migration, retention and restored backups.",
    "temporal": "Worker versioning, if OCTY_TEMPORAL_DEPLOYMENT is set.",
}
COMMANDS = {
    "login": ("login:login", "Log in at a staff API by your SSH certificate and a second factor."),
    "logout": ("login:logout", "End your session at a staff API."),
    "orders pending": ("orders_pending:list_pending", "List your orders that wait for your signature at a staff API."),
    "orders sign": ("orders_pending:sign", "Sign an order that waits at a staff API, by your SSH certificate."),
    "sessions list": ("login:list_sessions", "List open sessions at a staff API."),
    "sessions end": ("login:end_session", "End a session at a staff API."),
    "find": ("find:find", "Find a customer by mail address, name, public key, request id, or an id from a mail."),
    "accounts add": ("accounts:add", "Create an account and order its first key pair."),
    "accounts change": ("accounts:change", "Change an account's contact address, for a customer who can't do so."),
    "accounts erase": ("accounts:erase", "Erase what is known about a customer whose key pairs have ended."),
    "accounts list": ("accounts:list_all", "List accounts, newest first."),
    "accounts show": ("accounts:show_one", "Show an account: contact data, key pairs, open incidents, notices, mails."),
    "incidents list": ("incidents:list_some", "List incidents, newest first: the open ones, or all."),
    "incidents show": ("incidents:show_one", "Show an incident: attempts, sources, the answer, mails, the timeline."),
    "incidents decide": ("incidents_orders:decide", "Decide an incident for the customer: regenerate or dismiss."),
    "incidents extend": ("incidents_orders:extend", "Extend the time for the customer's answer."),
    "incidents resend": ("incidents_orders:resend", "Send a mail of an incident again."),
    "incidents change": ("incidents:change", "Change the answer of an incident."),
    "incidents decide-many": ("incidents_bulk:decide_many", "Decide many incidents that have one cause."),
    "incidents held": ("alerts:held", "Show whether alerts are held, why, until when, and how many are unsent."),
    "incidents release": ("alerts:release", "Send held alerts now."),
    "incidents reconcile": ("incidents_reconcile:reconcile", "Repair differences between the database and Temporal."),
    "keys list": ("keys:list_some", "List key pairs, newest first."),
    "keys show": ("keys:show_one", "Show a key pair: state, use and sources in 7 days, exposure over plain HTTP."),
    "keys regenerate": ("keys:regenerate", "Replace an account's key pair."),
    "keys resend": (
        "incidents_orders:resend_keys",
        "Send a new link to uncollected keys, also to the first ones.",
    ),
    "keys revoke": ("keys:revoke", "Revoke a key pair at once and for good."),
    "keys import": ("keys_import:import_pairs", "Import existing customers with the keys that they have."),
    "orders list": ("orders:list_some", "List orders that wait for a second person, or all."),
    "orders acknowledge": ("orders:acknowledge", "Acknowledge an order that was made by break glass."),
    "orders approve": ("orders:approve", "Approve a colleague's order, which is then carried out."),
    "outbox list": ("outbox:list_some", "List undelivered messages, newest first."),
    "outbox retry": ("outbox:retry_some", "Retry dead letters."),
    "webhooks list": ("webhooks:list_some", "List webhooks, newest first."),
    "webhooks retry": ("webhooks:retry_some", "Retry webhooks that failed or were skipped."),
    "webhooks secret": ("webhooks:secret", "Print the secret with which an account verifies its webhooks."),
    "webhooks rotate-secret": ("webhooks:rotate_one", "Give one account a new webhook secret; all others keep theirs."),
    "webhooks test": ("webhooks:send_test", "Send a signed test event to an account's server, and show the result."),
    "staff bootstrap": ("staff:bootstrap", "Make the first admin, on this host, once."),
    "staff add": ("staff:add", "Invite a staff member, or one who was disabled."),
    "staff list": ("staff:list_all", "List staff: roles, states, second factors."),
    "staff role": ("staff:change_role", "Give a staff member another role."),
    "staff disable": ("staff:disable", "End all rights of a staff member, and the sessions."),
    "staff reset": ("staff:reset", "Remove a staff member's second factors, for one who has lost the device."),
    "staff enroll": ("staff_enroll:enroll", "Register a one-time password or a hardware key as your second factor."),
    "staff certificate": ("staff_ca:certificate", "Issue a short-lived certificate for an SSH key."),
    "staff revoke": ("staff_ca:revoke", "List valid certificates of a staff member, and print how to revoke them."),
    "staff ca init": ("staff_ca:init", "Make a key of the built-in certificate authority."),
    "staff ca show": ("staff_ca:show", "Show the public keys of the built-in certificate authority."),
    "worker": ("services:worker", "Run the worker and the customers' pages until stopped."),
    "pages": ("services:pages", "Serve only the customers' pages, until stopped."),
    "codec-server": ("temporal:codec_server", "Decode payloads for Temporal's Web UI and command line, until stopped."),
    "audit list": ("audit:list_some", "List entries of the audit log, newest first."),
    "audit verify": ("audit_verify:verify", "Verify the audit log or an evidence pack: find what was changed."),
    "audit export": ("audit:export", "Write the evidence about an incident into a file that others verify."),
    "audit keys": ("audit:show_keys", "Print the public keys with which others verify the audit log."),
    "mail preview": ("mail:preview", "Show the mails as customers get them, with sample data: a list, or one mail."),
    "mail test": ("mail:send_sample", "Send a sample through the configured mail server, and show the result."),
    "mail record": ("mail:record", "Print the DNS record with which receivers verify the mails' signatures (DKIM)."),
    "doctor": ("doctor.command:doctor", "Check the whole installation; list problems and what to do about them."),
    "secrets": ("secrets:secrets", "Print a complete set of new keys as OCTY_* settings."),
    "db upgrade": ("db:upgrade", "Create the tables, or migrate them to this release. Safe to repeat."),
    "db downgrade": ("db:downgrade", "Migrate the tables back to an older schema, by default the previous one."),
    "db current": ("db:current", "Show the database's schema version, and the one that this release needs."),
    "db check": ("db:check", "Check that the database has the tables of this release; if not, print what to do."),
    "db prune": ("db_prune:prune", "Delete expired rows, merge counters per minute into days, as workers do daily."),
    "db adopt": ("db_adopt:adopt", "Confirm that a database was moved or copied, or that it is used with other keys."),
    "db restored": ("db_restored:restored", "After restoring a backup: revoke again the key pairs revoked since."),
    "temporal versions": ("temporal:list_versions", "List the worker's builds that Temporal knows, newest first."),
    "temporal promote": ("temporal:promote", "Make one build of the worker current: it gets all workflows."),
    "dev": ("dev:dev", "Run the whole stack on this machine, until Ctrl-C."),
    "demo": ("dev:demo", "Run a demonstration on real input, from an empty installation."),
}


class OctyGroup(MainGroup):
    """The group of all commands, shown in panels by who uses them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for panel, names in PANEL_NAMES.items():
            for name in names:
                command = _group(name) if name in _GROUPS else LazyCommand(name, *COMMANDS[name])
                command.rich_help_panel = panel
                self.add_command(command)


def _group(name: str) -> TyperGroup:
    group = TyperGroup(name=name.rpartition(" ")[2], help=_GROUPS[name], no_args_is_help=True, rich_markup_mode="rich")
    for path, entry in COMMANDS.items():
        parent, _, own = path.rpartition(" ")
        if parent == name:
            group.add_command(LazyCommand(own, *entry))
    for path in _GROUPS:
        parent, _, own = path.rpartition(" ")
        if parent == name:
            group.add_command(_group(path), own)
    return group


app = typer.Typer(
    name="octy",
    cls=OctyGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # they would show local variables, and with them secrets
    help=help_text(
        "Manage API keys: accounts, key pairs, incidents of repeated failed attempts, and the worker.",
        (
            "octy dev                          run the whole stack on this machine",
            "octy secrets --out octy.env       create the keys of a new installation",
            "octy --env-file octy.env doctor   find problems and what to do about them",
            "octy incidents list               list the open incidents",
        ),
    ),
    epilog=exit_code_table(),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"octy-middleware {version('octy-middleware')}")
        raise typer.Exit


@app.callback()
def prepare(  # noqa: PLR0917  # options
    context: typer.Context,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            help="The database: sqlite:///FILE or postgresql://USER@HOST/NAME. Overrides OCTY_DATABASE_URL.",
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            metavar="FILE",
            help="Read OCTY_* settings from a file of NAME=value lines, as written by `octy secrets` and `octy dev`. "
            "They override environment variables.",
        ),
    ] = None,
    sign: Annotated[
        str | None,
        typer.Option(
            "--sign",
            metavar="KEY",
            help="Sign orders by this SSH key, whose certificate is beside it, or by the agent that has it. Overrides "
            "OCTY_STAFF_KEY_FILE.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            help="Work at this staff API, after `octy login URL`, in place of this host's database. Overrides "
            "OCTY_SERVER.",
        ),
    ] = None,
    break_glass: Annotated[
        bool,
        typer.Option(
            "--break-glass",
            help="In an emergency, on the host with OCTY_STAFF_KEYS: order without a signature. All admins are told.",
        ),
    ] = False,
    passkey: Annotated[
        bool,
        typer.Option(
            "--passkey", help="Have orders wait at the staff API, for your passkey in a browser to sign them."
        ),
    ] = False,
    version: Annotated[  # noqa: ARG001  # its callback acts
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Load the settings for the command that follows."""
    context.obj = load_variables(database, env_file, sign, server, break_glass=break_glass, passkey=passkey)
