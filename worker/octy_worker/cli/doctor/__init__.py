"""The checks of `octy doctor`. Each returns `Check`s: what was found and what to do. None leaves a change behind.

problems         every problem that can be found, by code (listed in `docs/doctor.md`)

configuration    settings, keys, packages
files            permissions of files that hold secrets
database         connection, schema, integrity, keys, outbox
database_server  version and durability of the database server
apps             the host app's processes, from their heartbeat rows
installation     installation id and key check values
temporal         server, namespace, workers, schedules, stuck workflows
restored_backup  whether the database was restored from a backup
retention        whether expired rows are deleted
scheduled_jobs   the last reconciliation and the last digest
audit            the audit log's last entries, and its checkpoints
observability    metrics and tracing
mail             templates, DKIM
network          mail server, pages, codec server
staff_api        the staff API: settings, certificate, reachability
staff            certificates, second factors, rows that this system did not write
stalled_work     alerts, incidents, keys, mails, webhooks, commits, disk, clocks
"""

from pathlib import Path

from octy_worker.cli.doctor.audit import check_audit
from octy_worker.cli.doctor.check import Check, State
from octy_worker.cli.doctor.configuration import check_packages, read_settings
from octy_worker.cli.doctor.database import check_database
from octy_worker.cli.doctor.files import check_secret_files
from octy_worker.cli.doctor.installation import read_installation
from octy_worker.cli.doctor.mail import check_signature, check_templates
from octy_worker.cli.doctor.network import check_codec_server, check_mail_server, check_pages
from octy_worker.cli.doctor.observability import check_observability
from octy_worker.cli.doctor.restored_backup import check_restored_backup
from octy_worker.cli.doctor.retention import check_retention
from octy_worker.cli.doctor.scheduled_jobs import check_scheduled_jobs
from octy_worker.cli.doctor.staff import check_staff
from octy_worker.cli.doctor.staff_api import check_staff_api
from octy_worker.cli.doctor.stalled_work import check_stalled_work
from octy_worker.cli.doctor.temporal import check_temporal
from octy_worker.cli.variables import Variables

__all__ = ["Check", "State", "run_checks"]


def run_checks(variables: Variables, env_file: Path | None = None) -> list[Check]:
    """Return all checks, in the order in which problems are best solved. `env_file`: where the settings came from."""
    settings, checks = read_settings(variables)
    database, installation = list(check_database(settings)), read_installation(settings)
    temporal = check_temporal(settings, installation)
    worker_runs = any(check.name == "worker" and check.state is State.OK for check in temporal)
    return [
        *checks,
        check_packages(),
        *check_secret_files(settings, variables, env_file),
        *database,
        *temporal,
        check_restored_backup(settings, installation),
        check_codec_server(settings),
        check_retention(settings, worker_runs=worker_runs),
        *check_scheduled_jobs(settings, worker_runs=worker_runs),
        *check_audit(settings, worker_runs=worker_runs),
        *check_observability(settings, worker_runs=worker_runs),
        check_templates(settings),
        check_signature(settings),
        check_mail_server(settings),
        check_pages(settings),
        check_staff_api(settings, installation or ""),
        *check_staff(settings, installation or ""),
        *check_stalled_work(settings),
    ]
