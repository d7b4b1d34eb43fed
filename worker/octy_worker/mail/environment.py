"""The Jinja environment of mail templates: the host's folders before the built-in ones, filters and global names.

docs/mails.md lists what a host can replace.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined, select_autoescape
from jinja2.sandbox import ImmutableSandboxedEnvironment

from octy_middleware.errors import ConfigurationError
from octy_worker import formatting
from octy_worker.domain import histogram
from octy_worker.mail import phrasing
from octy_worker.mail.colours import Palette
from octy_worker.mail.translation import Translation
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import DeliveryMethod

_BUILT_IN_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings that templates can use; times are seconds. Templates see no other setting."""

    threshold: int
    deliver: DeliveryMethod
    regenerate_on_silence: bool
    incident_remind_after: tuple[float, ...]
    incident_staff_after: float
    incident_close_after: float
    alert_link_grace_period: float
    quiet_after_false_alarm: float
    reveal_link_ttl: float
    overlap: float
    overlap_warn_before: float
    resend_after: tuple[float, ...]
    collect_staff_after: float
    collect_abandon_after: float


def host_folders(settings: WorkerSettings) -> tuple[Path, ...]:
    """Return the host's template folders, the first has priority. Raises ConfigurationError for a missing folder."""
    if not settings.mail_templates:
        if settings.mail_language != _BUILT_IN_LANGUAGE:
            raise ConfigurationError(
                f"mail_language (OCTY_MAIL_LANGUAGE) is {settings.mail_language!r}, but the built-in templates are "
                "English: set OCTY_MAIL_TEMPLATES to a folder with your templates"
            )
        return ()
    folder = Path(settings.mail_templates)
    if not folder.is_dir():
        raise ConfigurationError(f"mail_templates (OCTY_MAIL_TEMPLATES): {str(folder)!r} is not a folder")
    return folder / settings.mail_language, folder


def build_environment(settings: WorkerSettings) -> Environment:
    """Return the environment. Templates are read once, so those that were checked are those that are used."""
    folders = host_folders(settings)
    translation = Translation.read(folders)
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader([*(FileSystemLoader(folder) for folder in folders), PackageLoader("octy_worker.mail")]),
        autoescape=select_autoescape(enabled_extensions=("html",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        moment=formatting.format_time,
        span=translation.translated(formatting.format_duration),
        amount=translation.translated(formatting.format_count),
        translate=translation.translate,
    )
    environment.globals.update(
        product=settings.product_name,
        support=settings.support_contact,
        site=settings.public_url,
        terms=Terms(**{each.name: getattr(settings, each.name) for each in fields(Terms)}),
        language=settings.mail_language,
        colours=Palette.of(settings),
        rate=translation.translated(phrasing.rate),
        bars=histogram.bars,
        bins=histogram.BINS,
    )
    return environment
