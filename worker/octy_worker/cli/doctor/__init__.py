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

from octy_worker.cli.doctor.check import Check, State
from octy_worker.cli.doctor.configuration import look_at_packages, read_settings
from octy_worker.cli.doctor.files import look_at_files
from octy_worker.cli.doctor.installation import read_installation
from octy_worker.cli.doctor.mail import look_at_signature, look_at_templates
from octy_worker.cli.doctor.network import look_at_codec_server, look_at_mail_server, look_at_pages
from octy_worker.cli.doctor.observation import look_at_observation
from octy_worker.cli.doctor.restored import look_at_restored
from octy_worker.cli.doctor.results import look_at_results
from octy_worker.cli.doctor.retention import look_at_retention
from octy_worker.cli.doctor.store import look_at_store
from octy_worker.cli.doctor.temporal import look_at_temporal
from octy_worker.cli.doctor.upkeep import look_at_upkeep
from octy_worker.cli.surroundings import Variables

__all__ = ["Check", "State", "examine"]


def examine(variables: Variables, env_file: Path | None = None) -> list[Check]:
    """Look at everything, in the order in which it is best mended. `env_file`: whence settings came."""
    settings, checks = read_settings(variables)
    stored, installation = list(look_at_store(settings)), read_installation(settings)
    temporal = look_at_temporal(settings, installation)
    worker_runs = any(check.name == "worker" and check.state is State.OK for check in temporal)
    return [
        *checks,
        look_at_packages(),
        *look_at_files(settings, variables, env_file),
        *stored,
        *temporal,
        look_at_restored(settings, installation),
        look_at_codec_server(settings),
        look_at_retention(settings, worker_runs=worker_runs),
        *look_at_upkeep(settings, worker_runs=worker_runs),
        *look_at_observation(settings, worker_runs=worker_runs),
        look_at_templates(settings),
        look_at_signature(settings),
        look_at_mail_server(settings),
        look_at_pages(settings),
        *look_at_results(settings),
    ]
