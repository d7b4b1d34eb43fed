"""Each alert rule fires when it should and only then, as Prometheus evaluates it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from support.paths import DEPLOY

RULES = DEPLOY / "prometheus" / "octy.rules.yml"
WORKERS = 'instance="a",job="octy-worker"', 'instance="b",job="octy-worker"'


@dataclass(frozen=True)
class Case:
    """Series, by metric and labels, with which a rule fires after so long; and those with which it rests."""

    fires: dict[str, str]
    rests: dict[str, str]
    after: str = "30m"
    interval: str = "1m"  # days by the minute would take promtool a minute


def gauge(  # a rule's series, in the order in which they are read
    name: str, bad: float, good: float = 0, labels: str = "", after: str = "30m", *, interval: str = "1m"
) -> Case:
    """Return the case of a gauge that two workers export: one bad value is enough."""
    first, second = (f"{name}{{{','.join(filter(None, (labels, worker)))}}}" for worker in WORKERS)
    fires, rests = ({first: f"{good}x1600", second: f"{last}x1600"} for last in (bad, good))
    return Case(fires, rests, after, interval)


def counter(name: str, labels: str) -> Case:
    """Return the case of a counter that is counted up once, in one of two workers."""
    first, second = (f"{name}{{{labels},{worker}}}" for worker in WORKERS)
    return Case({first: "3x800", second: "0x20 1x800"}, {first: "3x800", second: "1x800"})


def sends(deferred: str, accepted: str) -> dict[str, str]:
    name = "octy_mail_sends_total"
    return {
        f'{name}{{result="{result}",{worker}}}': rate
        for worker in WORKERS
        for result, rate in (("deferred", deferred), ("accepted", accepted), ("refused", "0x800"))
    }


def finished(reconciliation: str, retention: str) -> dict[str, str]:
    name = "octy_task_last_finished_timestamp_seconds"
    return {
        f'{name}{{task="{task}",{worker}}}': value
        for worker in WORKERS
        for task, value in (("reconciliation", reconciliation), ("retention", retention))
    }


def refused_logins(codes: str) -> dict[str, str]:
    """Return the counts of two workers, which are of the same log-ins."""
    name = "octy_staff_logins_refused_total"
    return {
        f'{name}{{step="{step}",{worker}}}': values
        for worker in WORKERS
        for step, values in (("code", codes), ("factor", codes), ("cli", "3x800"))
    }


def checkpoints(*signed_at: float) -> dict[str, str]:
    """Return when the newest checkpoint was signed, as each worker has read it."""
    name = "octy_audit_checkpoint_timestamp_seconds"
    return {f"{name}{{{worker}}}": f"{at}x800" for worker, at in zip(WORKERS, signed_at, strict=True)}


UP = {f"up{{{worker}}}": "1x800" for worker in WORKERS}
STORE = {f"octy_database_up{{{worker}}}": "1x800" for worker in WORKERS}
NOW = "0+60x8000"  # a task that is complete at each minute
CASES = {
    "OctyWorkerDown": Case(dict.fromkeys(UP, "0x800"), UP),
    "OctyDatabaseUnavailable": gauge("octy_database_up", 0, 1),
    "OctyOutboxStuck": gauge("octy_outbox_oldest_seconds", 301, 299),
    "OctyDeadLetters": gauge("octy_outbox_dead_letters", 1),
    "OctyIncidentsNeedStaff": gauge("octy_incidents_open", 1, labels='state="needs_staff"', after="90m"),
    "OctyAlertsHeld": gauge("octy_alerts_held", 1),
    "OctyAlertsUnsent": gauge("octy_alerts_unsent_oldest_seconds", 1201, 1199),
    "OctyMailsWithheld": gauge("octy_mails_withheld", 1, labels='kind="reminder"'),
    "OctyMailsRefused": Case(
        {**sends("0x800", "0x800"), f'octy_mail_sends_total{{result="refused",{WORKERS[0]}}}': "0x20 1x800"},
        sends("0x800", "0x800"),
    ),
    "OctyMailsNotSent": Case(sends("0+1x800", "7x800"), sends("0+1x800", "0+1x800"), "60m"),
    "OctyPagesRestarting": Case(
        {f"octy_pages_starts_total{{{WORKERS[0]}}}": "0+1x800"}, {f"octy_pages_starts_total{{{WORKERS[0]}}}": "1x800"}
    ),
    "OctyOutcomesLost": gauge("octy_recorder_lost", 1, labels='host="h",process="p"'),
    "OctyRecorderBehind": gauge("octy_recorder_queued", 5001, 4999, labels='host="h",process="p"'),
    "OctyReconciliationLate": Case(finished("0x800", NOW), finished(NOW, NOW), "190m"),
    "OctyDatabaseRestored": gauge("octy_reconciliation_found", 1, labels='what="temporal_ahead"'),
    "OctyReconciliationDifferences": gauge("octy_reconciliation_found", 1, labels='what="restarted"'),
    "OctyRetentionLate": Case(finished("0x800", "0x800"), finished("0+600x800", "0+600x800"), "4400m", "10m"),
    "OctyWorkflowMessagesRefused": counter(
        "octy_workflow_messages_refused_total", 'workflow="incident",reason="missing"'
    ),
    "OctySubjectsMissing": counter("octy_subjects_missing_total", 'workflow="incident"'),
    "OctyTaskNeverFinished": Case(STORE, {**STORE, **finished("0x800", "0x800")}, "190m"),
    "OctyTaskFailing": gauge("octy_task_failing", 1, labels='task="retention"', after="190m"),
    "OctyAlertsFailed": gauge("octy_alerts_failed", 1),
    "OctyIncidentsStalled": gauge("octy_incidents_stalled", 1),
    "OctyWorkflowTasksFailing": Case(
        {'temporal_workflow_task_execution_failed_total{job="octy-worker-temporal"}': "0+1x800"},
        {'temporal_workflow_task_execution_failed_total{job="octy-worker-temporal"}': "3x800"},
    ),
    "OctyKeysRefused": gauge("octy_keys_refused", 1),
    "OctyKeysUncollected": gauge("octy_keys_uncollected", 1),
    "OctyMailsRetrying": gauge("octy_mails_retrying_oldest_seconds", 3601, 3599),
    "OctyWebhooksRetrying": gauge("octy_webhooks_retrying", 1, after="370m"),
    "OctyWebhooksFailed": gauge("octy_webhooks_failed_recent", 1),
    "OctyDatabaseNotWritable": gauge("octy_database_writable", 0, 1),
    "OctyDatabaseSlow": gauge("octy_database_write_seconds", 1.1, 0.9),
    "OctyDiskNearlyFull": gauge("octy_database_free_bytes", 2e8, 3e8),
    "OctyClockSkew": gauge("octy_temporal_clock_offset_seconds", -3600, -1),
    "OctyCommitsFailing": gauge("octy_app_processes_failing", 1),
    "OctyReleasesDiffer": gauge("octy_app_processes_other_release", 1, after="1500m", interval="10m"),
    "OctyStaffApiRestarting": Case(
        {f"octy_staff_api_starts_total{{{WORKERS[0]}}}": "0+1x800"},
        {f"octy_staff_api_starts_total{{{WORKERS[0]}}}": "1x800"},
    ),
    "OctyStaffLoginsRefused": Case(refused_logins("0+1x800"), refused_logins("0+0.2x800")),
    "OctyStaffOrdersRefused": Case(
        {f'octy_staff_orders_total{{result="refused",{worker}}}': "0x20 11x800" for worker in WORKERS},
        {
            f'octy_staff_orders_total{{result="{result}",{worker}}}': "0x20 8x800"
            for worker in WORKERS
            for result in ("refused", "used")
        },
    ),
    "OctyBreakGlass": gauge("octy_break_glass_unacknowledged", 1),
    "OctyAuditLogBroken": gauge("octy_audit_log_whole", 0, 1),
    "OctyAuditEntriesUnsigned": gauge("octy_audit_unsigned_oldest_seconds", 901, 899),
    "OctyAuditCheckpointLate": Case(checkpoints(0, 0), checkpoints(0, 3600), "1520m", "10m"),
}


def check_of(alert: str, series: dict[str, str], case: Case, firing: int) -> dict[str, object]:
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": case.after,
                "exp_samples": [{"labels": "{}", "value": 1}] if firing else [],
            }
        ],
    }


def only_rule(alert: str) -> dict[str, object]:
    """Return the file with one rule: promtool evaluates all of a file at each minute. No rule uses another."""
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return {"groups": [{**group, "rules": [rule for rule in group["rules"] if rule["alert"] == alert]}]}


def promtool(*words: str, folder: Path) -> str:
    done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_alert_rule_has_a_case() -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == list(CASES)


@pytest.mark.needs("promtool")
def test_prometheus_accepts_the_alert_rules() -> None:
    assert f"{len(CASES)} rules found" in promtool("check", "rules", str(RULES), folder=RULES.parent)


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("alert", CASES)
def test_alert_rule_fires_on_its_condition_and_not_without_it(tmp_path: Path, alert: str) -> None:
    case = CASES[alert]
    tests = [check_of(alert, case.fires, case, firing=1), check_of(alert, case.rests, case, firing=0)]
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(only_rule(alert)))
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": case.interval, "tests": tests}))
    promtool("test", "rules", file.name, folder=tmp_path)
