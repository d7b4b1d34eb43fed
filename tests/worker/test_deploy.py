"""Deployment files: they are valid, and what they name exists."""

import configparser
import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from support.paths import DEPLOY
from typer.testing import CliRunner

from octy_worker.cli.app import app
from octy_worker.settings import WorkerSettings

DASHBOARD = json.loads((DEPLOY / "grafana" / "octy.json").read_text())
SETTINGS = {f"OCTY_{name.upper()}" for name in WorkerSettings.model_fields}


def panels() -> list[dict]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_dashboard_can_be_imported_into_any_grafana() -> None:
    [source] = DASHBOARD["__inputs"]
    assert (source["name"], source["type"], source["pluginId"]) == ("DS_PROMETHEUS", "datasource", "prometheus")
    assert DASHBOARD["id"] is None
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}", panel["title"]
        assert panel["description"], panel["title"]
        assert all(target["expr"] for target in panel["targets"]), panel["title"]
    assert sum(len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1 for panel in panels()) > 10


def test_dashboard_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for cell in ((place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]


def test_every_alert_rule_says_what_to_do() -> None:
    [group] = yaml.safe_load((DEPLOY / "prometheus" / "octy.rules.yml").read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) > 8
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")"), rule["alert"]


def test_prometheus_configuration_has_the_rules_and_the_worker() -> None:
    told = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert [(DEPLOY / "prometheus" / name).is_file() for name in told["rule_files"]] == [True]
    assert {job["job_name"] for job in told["scrape_configs"]} == {"octy-worker", "octy-worker-temporal", "octy-app"}


def test_systemd_unit_starts_an_existing_command_with_restricted_rights() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "systemd" / "octy-worker.service")
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/octy")
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
    assert service["User"] != "root"
    hard = (
        "NoNewPrivileges",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectHome",
        "ProtectKernelTunables",
        "LockPersonality",
    )
    assert [service[name] for name in hard] == ["yes"] * len(hard)
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert not any(re.search("secret|password|pepper", line, re.IGNORECASE) for line in service)


def test_compose_file_pins_images_and_uses_existing_settings() -> None:
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = told["services"]
    assert services.keys() == {"postgres", "temporal", "schema", "worker"}
    for name, service in services.items():
        image, _, tag = service["image"].partition(":")
        assert image, name
        assert tag not in {"", "latest"}, name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ())), name
    for name in ("schema", "worker"):
        ours = {key for key in services[name]["environment"] if key.startswith("OCTY_")}
        assert ours <= SETTINGS
        assert services[name]["cap_drop"] == ["ALL"]
    dockerfile = services["worker"]["build"]["dockerfile"]
    assert (DEPLOY.parents[1] / dockerfile).is_file()
    assert "${POSTGRES_PASSWORD:?" in services["postgres"]["environment"]["POSTGRES_PASSWORD"]


@pytest.mark.parametrize(
    "file", sorted(path for path in DEPLOY.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_no_deploy_file_has_a_key(file: Path) -> None:
    assert not re.search(r"(?<!--hash=sha256:)\b[0-9a-f]{64}|\bsk_[0-9A-Za-z]", file.read_text())


@pytest.mark.parametrize("name", ["octy.env", ".env"])
def test_keys_beside_the_compose_file_are_ignored_by_docker_and_git(name: str) -> None:
    """The image copies the whole repository, in which the compose file says to put them."""
    said = (DEPLOY / "compose.yaml").read_text()
    assert re.search(rf"(> |--out ){re.escape(name)}\b", said)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert fnmatch(f"worker/deploy/{name}", "**/*.env")
    assert "**/*.env" in ignored
    assert "*.env" in (DEPLOY.parents[1] / ".gitignore").read_text().split()
