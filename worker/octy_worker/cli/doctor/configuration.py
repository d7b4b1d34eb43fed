"""Settings, keys and packages. One wrong setting does not hide the others."""

from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import reject_passlib_beside_libpass
from octy_middleware.loopback import is_loopback
from octy_middleware.settings import PREFIX, Settings, is_service_link
from octy_worker.cli.doctor.check import Check, passed
from octy_worker.cli.doctor.problems import problem
from octy_worker.cli.variables import Variables
from octy_worker.mail.addresses import Sender
from octy_worker.settings import KEY_SETTINGS, WorkerSettings
from octy_workflows.messages import DeliveryMethod

KEYS = ("peppers", "sealing_keys", "link_keys")
_PAYLOADS = "temporal_keys"  # without them payloads are not encrypted
_OPTIONAL = ("webhook_keys", "staff_keys", "audit_keys", _PAYLOADS)
_USE = "keys {}; the last one is used for new data"
_PAYLOADS_USE = "payloads are encrypted; keys {}, the last one encrypts"
NO_KEY = "nokey"  # the id of throw-away keys; no key in any database has it
_PLACEHOLDER = ".invalid"  # RFC 2606: the domain of the defaults, which no mail server accepts


def variable_name(field: str) -> str:
    """Return the name of a setting's environment variable."""
    return f"{PREFIX}{field.upper()}"


def read_settings(variables: Variables) -> tuple[WorkerSettings, list[Check]]:
    """Return usable settings, and the checks of those given.

    A wrong setting is replaced by its default and missing keys by throw-away ones, so that the other checks can run.
    These settings are for reading only: a key pair issued under a throw-away pepper could never be used.
    """
    keys, checks = _read_keys(variables)
    given = {field: text for field, text in WorkerSettings.texts_in(variables).items() if field not in KEY_SETTINGS}
    problems: list[Check] = []
    try:
        settings = WorkerSettings(**keys, **given)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        problems = [_setting_problem(fault) for fault in faults]
        bad = {str(fault["loc"][0]) for fault in faults}
        settings = WorkerSettings(**keys, **{field: given[field] for field in given.keys() - bad})
    settings.with_temporal(variables)
    problems += [*_misspelled(variables), *_unusable(settings)]
    problems = problems or [passed("settings", f"{len(given)} set, the others have their defaults")]
    return settings, [*checks, *problems, *_unusual(settings)]


def _unusual(settings: WorkerSettings) -> list[Check]:
    """Mention settings that are unusual but may be intended."""
    if settings.deliver is DeliveryMethod.LINK:
        return []
    return [
        passed(
            "OCTY_DELIVER", "mails contain new secret keys, which count as collected once a mail server accepts them"
        )
    ]


def _read_keys(variables: Variables) -> tuple[dict[str, Keychain], list[Check]]:
    keys: dict[str, Keychain] = {}
    checks = []
    for field in (*KEYS, *_OPTIONAL):
        name, text = variable_name(field), variables.get(variable_name(field), "")
        if not text and field in KEYS:
            keys[field] = Keychain.generate(NO_KEY)
            checks.append(problem("keys-missing", setting=name))
        elif not text and field == _PAYLOADS:
            checks.append(passed(name, "not set: payloads are not encrypted; they contain ids and choices"))
        elif text:
            try:
                keys[field] = Keychain.parse(text, name=name)
            except ConfigurationError as error:
                keys |= {} if field == _PAYLOADS else {field: Keychain.generate(NO_KEY)}
                checks.append(problem("keys-malformed", setting=name, error=str(error).removeprefix(f"{name}: ")))
            else:
                use = _PAYLOADS_USE if field == _PAYLOADS else _USE
                checks.append(passed(name, use.format(", ".join(keys[field]))))
    return keys, checks


def _setting_problem(item: Any) -> Check:
    found = str(item["msg"]).removeprefix("Value error, ")
    return problem("setting-refused", setting=variable_name(str(item["loc"][0])), error=found)


def _misspelled(variables: Variables) -> list[Check]:
    """Find names that are nearly a setting's; they would be ignored silently."""
    known = {variable_name(field) for field in [*WorkerSettings.model_fields, *Settings.model_fields]} | {"OCTY_ACTOR"}
    unknown = {name for name in variables.keys() - known if not is_service_link(variables[name])}
    ours = sorted(name for name in unknown if name.startswith(PREFIX))
    near = {name: get_close_matches(name, known, n=1, cutoff=0.85) for name in ours}
    return [problem("setting-misspelled", setting=name, near=close[0]) for name, close in near.items() if close]


def _unusable(settings: WorkerSettings) -> list[Check]:
    """Find settings that are valid but make mails or links useless to customers."""
    found = []
    try:
        sender = Sender.parse(settings.mail_from)
    except ConfigurationError as error:
        return [problem("sender-malformed", error=error)]
    real_mail = not is_loopback(settings.smtp_host)
    if real_mail and sender.domain.endswith(_PLACEHOLDER):
        found.append(problem("sender-placeholder", domain=sender.domain))
    if real_mail and settings.support_contact.endswith(_PLACEHOLDER):
        found.append(problem("contact-placeholder", contact=settings.support_contact))
    url = urlsplit(settings.public_url)
    if real_mail and is_loopback(url.hostname or ""):
        found.append(problem("public-url-local", url=settings.public_url))
    return found


def check_packages() -> Check:
    """Check that passlib and libpass are not installed side by side."""
    try:
        reject_passlib_beside_libpass()
    except ConfigurationError as error:
        return problem("packages-conflict", error=error)
    return passed("packages", "no conflict: libpass is installed without passlib")
