"""PURE. Checks the evidence of a run against each invariant: figures, and a finding for each violation.

Each check has a test that plants what it must find (`test_checks`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from proofs.faults.evidence import Evidence

RETIRED_WITHIN = 1.0  # seconds in which a retired key pair may still be accepted
_MAINTENANCE = "octy-maintenance-"  # workflows of schedules, which run at any time
_REQUESTS_IN_COMMIT = 6  # of one key pair at most: an attack has five connections, its owner's program one
_DUPLICATE_AFTER = 70.0  # seconds from a fault to a mail's second copy: an attempt lasts 60 s at most


@dataclass(frozen=True)
class CheckResult:
    """The figures that the report begins with, some more, and what does not hold."""

    evidence: Evidence
    figures: dict[str, int]
    more: dict[str, int]
    findings: tuple[str, ...]


def check(evidence: Evidence) -> CheckResult:
    lost, stuck = list(_lost(evidence)), list(_stuck(evidence))
    withheld, forged = list(_withheld(evidence)), list(_forged(evidence))
    rest = (_recorded_twice, _incidents, _duplicate_mails, _regenerations, _key_pairs, _side_scenarios)
    others = [finding for find in rest for finding in find(evidence)]
    alerts = [mail.message_id for mail in evidence.mails if mail.kind == "alert"]
    figures = {
        "kills": evidence.kills,
        "refusals_seen": sum(evidence.refused.values()),
        "refusals_recorded": sum(evidence.recorded.values()),
        "incidents_expected": len(evidence.expected),
        "incidents": len(evidence.incidents),
        "alerts_expected": len(evidence.incidents),
        "alerts": len(evidence.incidents) - len(_without_alert(evidence)),
        "duplicate_alerts": len(alerts) - len(set(alerts)),
        "regenerations": sum(regeneration.cause == "incident" for regeneration in evidence.regenerations),
        "lost": len(lost) + sum(count - 1 for count in _unrecorded(evidence).values()),
        "stuck": len(stuck),
        "secrets_found": len(evidence.leaks),
        "alerts_withheld": len(withheld),
        "forged_accepted": len(forged),
    }
    more = {
        "mails_sent_again": len(evidence.mails) - len({mail.message_id for mail in evidence.mails}),
        "rows_behind_their_mail": len(evidence.unsent),
        "forgeries": sum(evidence.forgeries.values()),
        **evidence.side_actions,
    }
    exits = [f"exited: {line}" for line in evidence.exits]
    return CheckResult(evidence, figures, more, (*lost, *stuck, *withheld, *forged, *others, *exits, *evidence.leaks))


def _lost(evidence: Evidence) -> Iterator[str]:
    """What was promised to somebody and is missing."""
    for key, count in _unrecorded(evidence).items():
        yield f"lost: {count} refusals of {key} that clients received are not recorded"
    for key in evidence.expected.keys() - {incident.public_key for incident in evidence.incidents}:
        yield f"lost: {key} reached the threshold, and there is no incident"
    for incident in evidence.incidents:
        if incident.answer is not None and not incident.closed:
            yield f"lost: incident {incident.id} was answered and never closed"
    recorded = {incident.id: incident.answer for incident in evidence.incidents}
    for incident_id, answer, _ in evidence.answers:
        if recorded.get(incident_id) != answer:
            yield f"lost: the answer {answer} to incident {incident_id}; recorded: {recorded.get(incident_id)}"
    yield from (f"lost: mail {message_id} was never sent" for message_id in _missing_mails(evidence))
    yield from (f"lost: outbox message {message} was never delivered" for message in evidence.undelivered)
    yield from (f"lost: {failure}" for failure in evidence.failures)


def _unrecorded(evidence: Evidence) -> dict[str, int]:
    """Return how many refusals of each key clients received that are in no table."""
    return {
        key: count - evidence.recorded.get(key, 0)
        for key, count in evidence.refused.items()
        if count > evidence.recorded.get(key, 0)
    }


def _missing_mails(evidence: Evidence) -> set[str]:
    """Return the mails that were neither sent nor made unnecessary.

    A mail may be sent although its row says otherwise: its worker was killed between the two, and the customer acted
    on the mail before the next attempt.
    """
    over = {incident.id for incident in evidence.incidents if incident.closed}
    over |= {regeneration.id for regeneration in evidence.regenerations if regeneration.finished}
    sent = {mail.message_id for mail in evidence.mails}
    return {message_id for message_id, subject in evidence.unsent.items() if subject not in over} - sent


def _stuck(evidence: Evidence) -> Iterator[str]:
    """Tables and workflows that disagree about whether work is in progress."""
    ended = {f"octy-incident-{incident.id}": incident.closed for incident in evidence.incidents}
    ended |= {f"octy-regeneration-{one.id}": one.finished for one in evidence.regenerations}
    for workflow, has_ended in ended.items():
        if has_ended and workflow in evidence.running:
            yield f"stuck: {workflow} runs, and in the tables it has ended"
        if not has_ended and workflow not in evidence.running:
            yield f"stuck: {workflow} does not run, and in the tables it has not ended"
    for workflow in evidence.running - ended.keys() - {f"octy-notice-{notice}" for notice in evidence.capped}:
        if not workflow.startswith(_MAINTENANCE):
            yield f"stuck: {workflow} runs, and has no row in the tables"


def _withheld(evidence: Evidence) -> Iterator[str]:
    yield from (f"withheld: incident {incident} has no alert" for incident in _without_alert(evidence))
    yield from (f"withheld: alert {key}" for key in evidence.withheld)


def _without_alert(evidence: Evidence) -> list[str]:
    """Return the incidents that no alert is about, and whose key no alert names."""
    alerts = [mail for mail in evidence.mails if mail.kind == "alert"]
    alerted = {mail.subject for mail in alerts}.union(*(mail.keys for mail in alerts))
    return [one.id for one in evidence.incidents if not alerted & {one.id, one.public_key}]


def _forged(evidence: Evidence) -> Iterator[str]:
    """What is in the tables although no one with permission has said or done it."""
    answered = {incident for incident, _, _ in evidence.answers}
    for incident in evidence.incidents:
        if incident.answer is not None and incident.id not in answered:
            yield f"forged: incident {incident.id} has the answer {incident.answer}, which no customer gave"
        if incident.closed and incident.answer is None:
            yield f"forged: incident {incident.id} was closed as {incident.resolution} without an answer"
    yield from (f"forged: {what} was answered as genuine" for what in evidence.accepted_forgeries)


def _recorded_twice(evidence: Evidence) -> Iterator[str]:
    """Refusals and incidents. An outage may interrupt a commit: it is written again, and may be recorded twice."""
    for key, recorded in evidence.recorded.items():
        unavailable = evidence.unavailable.get(key, 0)
        sent = evidence.refused.get(key, 0) + evidence.unanswered.get(key, 0) + unavailable
        surplus = recorded - sent - min(unavailable, evidence.outages * _REQUESTS_IN_COMMIT)
        if surplus > 0:
            yield f"duplicate: {surplus} more refusals of {key} are recorded than were sent"
    for key, count in Counter(incident.public_key for incident in evidence.incidents).items():
        if count > 1:
            yield f"duplicate: {count} incidents of {key}"


def _incidents(evidence: Evidence) -> Iterator[str]:
    """Incidents that differ from what the order of commits demands, and wrong responses."""
    for incident in evidence.incidents:
        expected = evidence.expected.get(incident.public_key)
        if expected is None:
            yield f"wrong: an incident of {incident.public_key}, which never reached the threshold"
        elif expected != incident.opening:
            yield f"wrong: incident {incident.id} is {incident.opening}, and by the order of commits {expected}"
    yield from (f"wrong: {response}" for response in evidence.unexpected)


def _duplicate_mails(evidence: Evidence) -> Iterator[str]:
    """Copies with another Message-ID, and copies without a fault between sending and recording."""
    copies: defaultdict[str, list[float]] = defaultdict(list)
    for mail in evidence.mails:
        copies[mail.message_id].append(mail.at)
    for message_id, times in copies.items():
        for copy in sorted(times)[1:]:
            if not any(copy - _DUPLICATE_AFTER <= fault <= copy for fault in evidence.faults):
                yield f"duplicate: mail {message_id} was sent again without a fault"
    alerts = {(mail.subject, mail.message_id) for mail in evidence.mails if mail.kind == "alert"}
    for subject, count in Counter(subject for subject, _ in alerts).items():
        if count > 1:
            yield f"duplicate: {count} alerts of incident {subject} with different Message-IDs"


def _regenerations(evidence: Evidence) -> Iterator[str]:
    """Each key pair is replaced once, and only when its customer asks for that."""
    by_id = {regeneration.id: regeneration for regeneration in evidence.regenerations}
    by_key = Counter(one.old for one in evidence.regenerations if one.cause == "incident")
    for incident in evidence.incidents:
        count, wanted = by_key.pop(incident.public_key, 0), int(incident.answer == "not_us")
        if count != wanted:
            yield f"replaced: {incident.public_key} by {count} regenerations, not {wanted}"
        regeneration = by_id.get(incident.regeneration_id or "")
        if wanted and incident.closed and (regeneration is None or regeneration.state != "done"):
            yield f"replaced: incident {incident.id} is closed, and its regeneration is not done"
        if wanted and incident.closed and evidence.states.get(incident.public_key) != "retired":
            yield f"replaced: key pair {incident.public_key} of a closed incident is not retired"
    yield from (f"replaced: {key} without an incident" for key in by_key)
    by_staff = sum(regeneration.cause == "staff" for regeneration in evidence.regenerations)
    if by_staff > len(evidence.unseen):
        yield f"replaced: {by_staff} key pairs by staff, and {len(evidence.unseen)} secrets were not displayed"


def _key_pairs(evidence: Evidence) -> Iterator[str]:
    """Whether each collected key pair is accepted in the end, and how soon a retired one was refused."""
    for key in evidence.in_use:
        if evidence.states.get(key) != "active":
            yield f"keys: key pair {key} that a customer has is {evidence.states.get(key)}"
    for key, status in evidence.statuses.items():
        if status != (401 if evidence.states.get(key) == "retired" else 200):
            yield f"keys: key pair {key} is {evidence.states.get(key)}, and the response is {status}"
    for key, seconds in evidence.late.items():
        if seconds > RETIRED_WITHIN:
            yield f"keys: {key} was accepted {seconds:.2f} s after it was retired"


def _side_scenarios(evidence: Evidence) -> Iterator[str]:
    """Their findings, and scenarios without an action, which have proven nothing."""
    yield from evidence.side_findings
    yield from (f"idle: {name}: not once" for name, actions in evidence.side_actions.items() if not actions)
    if evidence.side_actions and not evidence.forgeries:
        yield "idle: nothing was forged"
