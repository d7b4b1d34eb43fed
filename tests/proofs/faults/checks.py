"""PURE. What the evidence says of every invariant: figures, and one finding for each thing that does not hold.

Here: every rule by which a run passes. Not here: gathering, and the report's form (`__main__`). Each rule has a test
that plants what it must find (`test_judge`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from proofs.faults.evidence import Evidence

CUT_WITHIN = 1.0  # seconds, DESIGN 4
_UPKEEP = "octy-maintenance-"  # ids of the schedules' rounds
_ACTS = {  # what each of those does who are no part of the installation
    "foreign host": "refused by 503",
    "restless customer": "changed the address",
    "four pairs": "had four keys named in alerts",
    "second installation": "had an alert",
}
_BEFORE = 70.0  # seconds before a second copy in which a part was hindered: a mail's try lasts 60 s at most


@dataclass(frozen=True)
class Verdict:
    """The figures that the issue asks for, some more, and what does not hold."""

    figures: dict[str, int]
    more: dict[str, int]
    findings: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.findings


def judge(evidence: Evidence) -> Verdict:
    """Judge one run."""
    lost, stuck = list(_lost(evidence)), list(_stuck(evidence))
    withheld, forged = list(_withheld(evidence)), list(_forged(evidence))
    others = [
        rule for find in (_doubled, _wrong, _told_twice, _replaced, _keys, _ended, _beside) for rule in find(evidence)
    ]
    alerts = [mail for mail in evidence.mails if mail.kind == "alert"]
    figures = {
        "kills": evidence.kills,
        "refusals_seen": sum(evidence.refused.values()),
        "refusals_recorded": sum(evidence.recorded.values()),
        "incidents_expected": len(evidence.expected),
        "incidents": len(evidence.incidents),
        "alerts_expected": len(evidence.incidents),
        "alerts": len(evidence.incidents) - len(_unalerted(evidence)),
        "duplicate_alerts": len(alerts) - len({mail.message_id for mail in alerts}),
        "regenerations": sum(order.cause == "incident" for order in evidence.orders),
        "lost": len(lost) + sum(count - 1 for count in _missing(evidence).values()),
        "stuck": len(stuck),
        "secrets_found": len(evidence.leaks),
        "alerts_withheld": len(withheld),
        "forged_accepted": len(forged),
    }
    more = {
        "mails_sent_again": len(evidence.mails) - len({mail.message_id for mail in evidence.mails}),
        "rows_behind_their_mail": len(evidence.unsent),
        "forgeries": sum(evidence.beside.forged.values()),
        **{f"{name} ({_ACTS[name]})": count for name, count in evidence.beside.acts.items()},
    }
    return Verdict(figures, more, (*lost, *stuck, *withheld, *forged, *others, *evidence.leaks))


def _lost(evidence: Evidence) -> Iterator[str]:
    """What somebody was promised, and is not there."""
    for key, count in _missing(evidence).items():
        yield f"lost: {count} refusals of {key} that clients saw are not recorded"
    opened = {incident.public_key for incident in evidence.incidents}
    for key in evidence.expected.keys() - opened:
        yield f"lost: {key} reached the threshold, and there is no case"
    for incident in evidence.incidents:
        if incident.answer is not None and not incident.closed:
            yield f"lost: the case {incident.id} was answered and never ended"
    answers = {incident.id: incident.answer for incident in evidence.incidents}
    for incident_id, answer, _ in evidence.answered:
        if answers.get(incident_id) != answer:
            yield f"lost: a customer's {answer} in the case {incident_id}, where {answers.get(incident_id)} stands"
    yield from (f"lost: the mail {message_id} never left" for message_id in _owed(evidence))
    yield from (f"lost: the message {message} of the outbox was never delivered" for message in evidence.undelivered)
    yield from (f"lost: {life}" for life in evidence.stopped)


def _withheld(evidence: Evidence) -> Iterator[str]:
    """Incidents that no alert in the sink is about, or names the key of, and alerts whose rows say so."""
    yield from (f"withheld: no alert of the case {incident} is in the sink" for incident in _unalerted(evidence))
    yield from (f"withheld: the alert {key}" for key in evidence.withheld)


def _unalerted(evidence: Evidence) -> list[str]:
    """Return the incidents that no alert is about, and whose key none names."""
    alerts = [mail for mail in evidence.mails if mail.kind == "alert"]
    alerted = {mail.subject for mail in alerts}.union(*(mail.keys for mail in alerts))
    return [one.id for one in evidence.incidents if not alerted & {one.id, one.public_key}]


def _forged(evidence: Evidence) -> Iterator[str]:
    """What stands in the tables, and nobody who may has said or done it."""
    pressed = {incident for incident, _, _ in evidence.answered}
    for incident in evidence.incidents:
        if incident.answer is not None and incident.id not in pressed:
            yield f"forged: the case {incident.id} has the answer {incident.answer}, which no customer gave"
        if incident.closed and incident.answer is None:
            yield f"forged: the case {incident.id} was closed as {incident.resolution} without an answer"
    yield from (f"forged: {what} was answered as genuine" for what in evidence.beside.taken)


def _beside(evidence: Evidence) -> Iterator[str]:
    """What those saw who are no part of the installation; who was idle has proven nothing."""
    yield from evidence.beside.findings
    yield from (f"idle: the {name} has not {_ACTS[name]}" for name, acts in evidence.beside.acts.items() if not acts)
    if evidence.beside.acts and not evidence.beside.forged:
        yield "idle: nothing was forged"


def _missing(evidence: Evidence) -> dict[str, int]:
    """Return how many refusals of each key clients saw that are in no table."""
    missing = {key: seen - evidence.recorded.get(key, 0) for key, seen in evidence.refused.items()}
    return {key: count for key, count in missing.items() if count > 0}


def _owed(evidence: Evidence) -> set[str]:
    """Return the mails that are neither in the sink nor overtaken.

    A row may stay behind its mail: when its worker dies between the two, and the customer acts on the mail before it
    is tried again, nobody tries it again.
    """
    over = {incident.id for incident in evidence.incidents if incident.closed}
    over |= {order.id for order in evidence.orders if order.finished}
    there = {mail.message_id for mail in evidence.mails}
    return {message_id for message_id, subject in evidence.unsent.items() if subject not in over} - there


def _stuck(evidence: Evidence) -> Iterator[str]:
    """Tables and workflows that do not agree whether something goes on."""
    ends = {f"octy-incident-{incident.id}": incident.closed for incident in evidence.incidents}
    ends |= {f"octy-regeneration-{order.id}": order.finished for order in evidence.orders}
    for workflow, ended in ends.items():
        if ended and workflow in evidence.running:
            yield f"stuck: {workflow} runs, and in the tables it has ended"
        if not ended and workflow not in evidence.running:
            yield f"stuck: {workflow} does not run, and in the tables it has not ended"
    for workflow in evidence.running - ends.keys() - {f"octy-notice-{notice}" for notice in evidence.capped}:
        if not workflow.startswith(_UPKEEP):  # a schedule's round, under way whenever it likes
            yield f"stuck: {workflow} runs for nothing in the tables"


def _doubled(evidence: Evidence) -> Iterator[str]:
    """What is there more often than it happened."""
    for key, recorded in evidence.recorded.items():
        surplus = recorded - evidence.refused.get(key, 0) - evidence.unsure.get(key, 0)
        if surplus > 0:
            yield f"doubled: {surplus} more refusals of {key} are recorded than were sent"
    for key, count in Counter(incident.public_key for incident in evidence.incidents).items():
        if count > 1:
            yield f"doubled: {count} cases of {key}"


def _wrong(evidence: Evidence) -> Iterator[str]:
    """Cases that the order of commits does not account for, or accounts for otherwise."""
    for incident in evidence.incidents:
        expected = evidence.expected.get(incident.public_key)
        if expected is None:
            yield f"wrong: a case of {incident.public_key}, which never reached the threshold"
        elif expected != incident.case:
            yield f"wrong: the case {incident.id} is {incident.case}, and by the order of commits {expected}"
    yield from (f"wrong: {what}" for what in evidence.misjudged)


def _told_twice(evidence: Evidence) -> Iterator[str]:
    """Mails that came again: the same Message-ID, and only where a part was hindered between sending and noting."""
    copies: defaultdict[str, list[float]] = defaultdict(list)
    for mail in evidence.mails:
        copies[mail.message_id].append(mail.at)
    for message_id, times in copies.items():
        for second in sorted(times)[1:]:
            if not any(second - _BEFORE <= trouble <= second for trouble in evidence.troubled):
                yield f"twice: {message_id} came again, and nobody had done anything to any part"
    alerts = {(mail.subject, mail.message_id) for mail in evidence.mails if mail.kind == "alert"}
    for subject, count in Counter(subject for subject, _ in alerts).items():
        if count > 1:
            yield f"twice: {count} alerts of the case {subject} with different Message-IDs"


def _replaced(evidence: Evidence) -> Iterator[str]:
    """Each pair is replaced once, and only on its customer's word."""
    orders = {order.id: order for order in evidence.orders}
    by_case = Counter(order.old for order in evidence.orders if order.cause == "incident")
    for incident in evidence.incidents:
        count, wanted = by_case.pop(incident.public_key, 0), int(incident.answer == "not_us")
        if count != wanted:
            yield f"replaced: {incident.public_key} by {count} regenerations, not {wanted}"
        order = orders.get(incident.regeneration_id or "")
        if wanted and incident.closed and (order is None or order.state != "done"):
            yield f"replaced: the case {incident.id} is closed, and its regeneration is not done"
        if wanted and incident.closed and evidence.states.get(incident.public_key) != "retired":
            yield f"replaced: the old pair {incident.public_key} of an ended case still works"
    yield from (f"replaced: {key} without a case" for key in by_case)
    staff = sum(order.cause == "staff" for order in evidence.orders)
    if staff > len(evidence.unseen):
        yield f"replaced: {staff} pairs by staff, and {len(evidence.unseen)} secrets were not seen"


def _keys(evidence: Evidence) -> Iterator[str]:
    """What each collected pair is worth in the end, and how soon a cut one stopped."""
    for key in evidence.in_use:
        if evidence.states.get(key) != "active":
            yield f"keys: the pair {key} that a customer holds is {evidence.states.get(key)}"
    for key, status in evidence.probes.items():
        wanted = 401 if evidence.states.get(key) == "retired" else 200
        if status != wanted:
            yield f"keys: the pair {key} is {evidence.states.get(key)}, and is answered {status}"
    for key, seconds in evidence.late.items():
        if seconds > CUT_WITHIN:
            yield f"keys: {key} was accepted {seconds:.2f} s after it was cut"


def _ended(evidence: Evidence) -> Iterator[str]:
    yield from (f"ended: {what}" for what in evidence.ended)
