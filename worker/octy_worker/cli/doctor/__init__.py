"""What `octy doctor` looks at. Each look returns `Check`s: found, and what to do. None of them leaves a change.

problems        every problem that can be found, with its words (`docs/doctor.md`)
files           who may read files of secrets

configuration   settings, keys, packages
store           database, its fit with the keys, outbox
database_server the database's version, and whether its server keeps what was committed
apps            the host app's processes, as they told of themselves
retention       whether what is past its time goes
mail            templates, DKIM
upkeep          the last reconciliation and the last digest
observation     metrics and tracing, where they are switched on
temporal        the server, our workers there, schedules, workflows that stand still
restored        whether the database was restored from a backup
network         SMTP, pages, codec server
results         what came of it all: alerts, incidents, keys, mails, webhooks, commits, clocks
"""

from pathlib import Path

from octy_worker.cli.context import Variables
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
from octy_worker.cli.doctor.stalled_work import check_stalled_work
from octy_worker.cli.doctor.temporal import check_temporal

__all__ = ["Check", "State", "run_checks"]


def run_checks(variables: Variables, env_file: Path | None = None) -> list[Check]:
    """Look at everything, in the order in which it is best mended. `env_file`: whence settings came."""
    settings, checks = read_settings(variables)
    stored, installation = list(check_database(settings)), read_installation(settings)
    temporal = check_temporal(settings, installation)
    worker_runs = any(check.name == "worker" and check.state is State.OK for check in temporal)
    return [
        *checks,
        check_packages(),
        *check_secret_files(settings, variables, env_file),
        *stored,
        *temporal,
        check_restored_backup(settings, installation),
        check_codec_server(settings),
        check_retention(settings, worker_runs=worker_runs),
        *check_scheduled_jobs(settings, worker_runs=worker_runs),
        *check_observability(settings, worker_runs=worker_runs),
        check_templates(settings),
        check_signature(settings),
        check_mail_server(settings),
        check_pages(settings),
        *check_stalled_work(settings),
    ]
