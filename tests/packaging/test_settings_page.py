"""docs/settings.md has every setting of the code and no other, with its default and its reader."""

import importlib
import pkgutil
import re
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from support.paths import ROOT

import octy_middleware
import octy_worker
from octy_middleware.settings import PREFIX, BaseSettings, Settings
from octy_worker.settings import RetentionSettings, StaffSettings, TemporalAccess, WebhookSettings, WorkerSettings
from octy_worker.temporal.codec_server import CodecSettings

PAGE = (ROOT / "docs" / "settings.md").read_text("utf-8")
ROW = re.compile(r"^\| `(OCTY_[A-Z_]+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
ROWS = {name: cells for name, *cells in ROW.findall(PAGE)}
KEYS = dict.fromkeys(("peppers", "sealing_keys", "link_keys", "temporal_keys"), "k1:" + "00" * 32)
# Which process builds which settings. Commands read these parts, and single variables by their name.
READERS: dict[str, tuple[type[BaseSettings], ...]] = {
    "app": (Settings,),
    "worker": (WorkerSettings,),
    "codec-server": (CodecSettings,),
    "commands": (TemporalAccess, RetentionSettings, WebhookSettings, StaffSettings),
}
READ_BY_COMMANDS = {
    "database_url",
    "peppers",
    "sealing_keys",
    "link_keys",
    "incident_close_after",
    "actor",
    "staff_key_file",
    "staff_code",
    "staff_code_command",
    "server",
}
# Defaults that depend on the machine or on the release, in the page's words.
COMPUTED = {
    "max_slow_hashes": "half of the processors",
    "temporal_build_id": "the release",
    "actor": "the log-in name",
}
DEFINED = [(reader, kind, name) for reader, kinds in READERS.items() for kind in kinds for name in kind.model_fields]


def variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def settings_classes(root: type[BaseSettings] = BaseSettings) -> set[type[BaseSettings]]:
    direct = {kind for kind in root.__subclasses__() if kind.__module__.startswith("octy_")}
    return direct.union(*(settings_classes(kind) for kind in direct))


def default_of(kind: type[BaseSettings], name: str) -> Any:
    return getattr(kind.from_environment(only_required(kind)), name)


def only_required(kind: type[BaseSettings]) -> dict[str, str]:
    return {variable(name): KEYS[name] for name, field in kind.model_fields.items() if field.is_required()}


def test_settings_page_has_every_setting_once_and_no_other() -> None:
    for package in (octy_middleware, octy_worker):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" not in module.name and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    defined = {variable(name) for kind in settings_classes() for name in kind.model_fields}
    assert [name for name, *_ in ROW.findall(PAGE)] == list(ROWS), "a row stands twice"
    assert set(ROWS) == defined | {
        "OCTY_ACTOR",
        "OCTY_STAFF_KEY_FILE",
        "OCTY_STAFF_CODE",
        "OCTY_STAFF_CODE_COMMAND",
        "OCTY_SERVER",
    }
    assert set(re.findall(r"OCTY_[A-Z_]+[A-Z]", PAGE)) == set(ROWS), "a row has another form than the others"


@pytest.mark.parametrize(("reader", "kind", "name"), DEFINED)
def test_default_and_reader_on_the_page_are_those_of_the_code(reader: str, kind: type[BaseSettings], name: str) -> None:
    default, unit, _meaning, readers = ROWS[variable(name)]
    assert reader in readers.split(", ")
    field = kind.model_fields[name]
    if name in COMPUTED:
        assert default == COMPUTED[name]
    elif any(each.model_fields[name].is_required() for each in (Settings, WorkerSettings) if name in each.model_fields):
        assert default == "required"
    elif default == "empty":
        assert field.is_required() or default_of(kind, name) in ("", None, (), SecretStr(""))
    else:
        given = {**only_required(kind), variable(name): default.strip("`")}
        assert default == f"`{default.strip('`')}`"
        assert getattr(kind.from_environment(given), name) == default_of(kind, name)
    assert unit.startswith("on/off") == is_switch(field)


def is_switch(field: FieldInfo) -> bool:
    return field.annotation in (bool, bool | None)


def test_settings_page_names_only_programs_that_read_the_setting() -> None:
    read = {(reader, variable(name)) for reader, _kind, name in DEFINED}
    read |= {("commands", variable(name)) for name in READ_BY_COMMANDS}
    assert {(reader, name) for name, cells in ROWS.items() for reader in cells[3].split(", ")} == read


def test_every_variable_that_the_code_names_is_on_the_page() -> None:
    sources = [path for folder in ("octy_middleware", "worker", "workflows") for path in (ROOT / folder).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"\bOCTY_[A-Z_]+[A-Z]\b", path.read_text("utf-8"))}
    assert named - set(ROWS) == set()
