"""What `octy` lists and shows: tables for people, documented JSON for programs. How it looks: `test_cli_terminal`."""

import re
import time
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, event
from support.cli_rig import Octy, fail, octy_for, open_incident
from support.in_session import in_session
from support.world import INSTALLATION, World

from octy_middleware import Outcome
from octy_middleware.clock import utc
from octy_middleware.db.models import Mail, Notice
from octy_middleware.domain.accounts import change_contact, create_account
from octy_middleware.domain.notices import record_exposure
from octy_middleware.states import Answer, MailState
from octy_worker.cli import accounts, keys
from octy_worker.cli import incidents as incident_commands
from octy_worker.cli.views.incidents import amendment_lines
from octy_worker.domain import incidents
from octy_worker.domain.notices import order_keys
from octy_worker.staff.outputs import AmendmentResult
from octy_workflows.messages import DAILY_CAP

DAY = 86_400.0
NOW = 1_770_000_000.0  # 2026-02-02 02:40:00 UTC


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world)


# Empty lists


@pytest.mark.parametrize(
    ("words", "name", "said"),
    [
        (("accounts", "list"), "accounts", "There are no accounts yet."),
        (("incidents", "list"), "incidents", "There are no open incidents."),
        (("incidents", "list", "--all"), "incidents", "There are no incidents."),
        (("keys", "list"), "keys", "There are no key pairs."),
    ],
)
def test_empty_list_says_so(octy, words, name, said):
    assert octy(*words).must().stdout.startswith(said)
    assert octy(*words, "--json").must().json == {name: [], "more": False, "total": 0}


# The documented names of the JSON are its names


def documented(text: str) -> dict[str, dict | None]:
    """Read `name, name[name, name], name{…}` into a tree."""
    tokens = re.findall(r"[^\s,\[\]{}][^,\[\]{}]*|[\[\]{}]", text)

    def read() -> dict[str, dict | None]:
        names: dict[str, dict | None] = {}
        while tokens and tokens[0] not in "]}":
            name = tokens.pop(0)
            names[name] = None
            if tokens and tokens[0] in "[{":
                tokens.pop(0)
                names[name] = read()
                tokens.pop(0)
        return names

    return read()


def compare(value, names: dict[str, dict | None]) -> None:
    if isinstance(value, list):
        assert value, "an empty list proves nothing"
        value = value[0]
    assert set(value) == set(names)
    for name, inner in names.items():
        if inner is not None and set(inner) != {"as in list"}:
            compare(value[name], inner)


def expose(world: World, public_key: str) -> str:
    """A key pair was exposed over plain HTTP and its customer notified; return the notice's id."""
    [(pair_id, account_id)] = world.rows("SELECT id, account_id FROM key_pair WHERE public_key = :key", key=public_key)
    with world.database.write() as connection:
        record_exposure(connection, pair_id, {"source": "192.0.2.1", "user_agent": "curl/8.5", "request_id": "r"}, NOW)
    [(notice_id,)] = world.rows("SELECT id FROM notice WHERE key_pair_id = :id", id=pair_id)
    put_mail(world, account_id, f"{notice_id}/exposed", MailState.SENT)
    return notice_id


def put_mail(world: World, account_id: str, name: str, state: MailState, fault: str = "") -> None:
    subject_id, kind = name.split("/")
    row = Mail(
        key=f"{name}/1",
        account_id=account_id,
        kind=kind,
        message_id=f"<{subject_id}.{kind}.1@octy.example>",
        state=state,
        last_error=fault,
        created_at=utc(NOW),
        sent_at=utc(NOW) if state is MailState.SENT else None,
    )
    with world.database.write_session() as session:
        session.add(row)


@pytest.fixture
def busy(world: World) -> tuple[str, str]:
    """A customer with an answered incident, mails, a notice and a used key pair."""
    pair, incident_id = open_incident(world)
    expose(world, pair.public_key)
    fail(world, pair, 3, source="198.51.100.4", outcome=Outcome.ACCEPTED)
    now = time.time()
    with world.database.write_session() as session:
        for number, (state, fault) in enumerate([(MailState.SENT, ""), (MailState.FAILED, "rcpt-550")], start=1):
            session.add(
                Mail(
                    key=f"{incident_id}/alert/{number}",
                    account_id=pair.account_id,
                    incident_id=incident_id,
                    kind="alert",
                    message_id=f"<{number}@octy.example>",
                    state=state,
                    delivery_attempts=number,
                    last_error=fault,
                    created_at=utc(now + number),
                    sent_at=utc(now + number) if state is MailState.SENT else None,
                )
            )
    in_session(
        world.database,
        incidents.answer_incident,
        incident_id,
        Answer.NOT_US,
        leaked=True,
        by=incidents.CUSTOMER,
        now=now + 10,
    )
    fail(world, pair, 2, source="198.51.100.5", outcome=Outcome.RETIRED, at=now + 60)
    return pair.public_key, incident_id


def test_list_json_has_the_documented_names(octy, busy):
    public_key, incident_id = busy
    compare(octy("accounts", "list", "--json").must().json, documented(accounts.LIST_JSON))
    compare(octy("accounts", "show", "acme", "--json").must().json, documented(accounts.SHOW_JSON))
    compare(octy("incidents", "list", "--json").must().json, documented(incident_commands.LIST_JSON))
    compare(octy("incidents", "show", incident_id, "--json").must().json, documented(incident_commands.SHOW_JSON))
    compare(octy("keys", "list", "--json").must().json, documented(keys.LIST_JSON))
    compare(octy("keys", "show", public_key, "--json").must().json, documented(keys.SHOW_JSON))


@pytest.mark.parametrize(
    "words",
    [
        *[("accounts", name) for name in ("add", "change", "list", "show")],
        *[("incidents", name) for name in ("list", "show", "decide", "extend", "resend", "change")],
        *[("outbox", name) for name in ("list", "retry")],
        *[("keys", name) for name in ("list", "show", "regenerate", "resend", "revoke", "import")],
        ("find",),
        *[("mail", name) for name in ("test", "record")],
        ("db", "current"),
        ("doctor",),
    ],
)
def test_every_command_with_json_documents_it(words):
    help_page = " ".join(Octy()(*words, "--help", COLUMNS="300").must().stdout.split())
    assert "--json" in help_page
    assert "JSON: " in help_page
    assert "Examples: octy " in help_page


def test_lists_show_no_secret_digest_or_link(world, octy, busy):
    public_key, incident_id = busy
    pages = [("accounts", "show", "acme"), ("incidents", "show", incident_id), ("keys", "show", public_key)]
    shown = "".join(octy(*page, *more).must().stdout for page in pages for more in ((), ("--json",)))
    [(digest,)] = world.rows("SELECT secret_digest FROM key_pair")
    assert digest not in shown
    assert digest.rpartition("$")[2] not in shown
    assert "sk_" not in shown
    assert "https://" not in shown


# What an incident shows


def test_incidents_show_has_customer_times_sources_mails_and_answer(octy, busy):
    _, incident_id = busy
    page = octy("incidents", "show", incident_id).must().stdout
    for said in (
        "acme",
        "20 wrong secrets in a row with this key, from any address",
        "203.0.113.9",
        "curl/8.5",
        "not_us, leaked, by customer",
        f"octy-{INSTALLATION}-incident-{incident_id}",
        "rcpt-550",
    ):
        assert said in page
    whats = [line["what"] for line in octy("incidents", "show", incident_id, "--json").must().json["timeline"]]
    assert whats == ["mail_sent", "mail_failed", "answered"]


def test_times_are_utc_and_iso(octy, busy):
    report = octy("incidents", "show", busy[1], "--json").must().json
    times = [report["first_at"], report["answered_at"], *(line["at"] for line in report["timeline"])]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment) for moment in times)
    parsed = [datetime.fromisoformat(moment) for moment in times]
    assert all(moment.utcoffset() == timedelta(0) for moment in parsed)


def test_incident_is_found_by_id_id_prefix_or_workflow_id(octy, busy):
    incident_id = busy[1]
    for text in (incident_id, incident_id.upper(), f"octy-{INSTALLATION}-incident-{incident_id}", incident_id[:18]):
        assert octy("incidents", "show", text, "--json").must().json["incident"]["id"] == incident_id


def test_ambiguous_id_prefix_is_rejected(world, octy):
    now = time.time()  # ids begin with their time
    ids = sorted(open_incident(world, name, at=now)[1] for name in ("one", "two"))
    common = ids[0][:8]
    assert ids[1].startswith(common)
    assert "several incidents" in octy("incidents", "show", common).must(2).stderr


# Filters and limits


def close_as_false_alarm(world, incident_id):
    in_session(
        world.database,
        incidents.answer_incident,
        incident_id,
        Answer.IT_WAS_US,
        leaked=False,
        by=incidents.CUSTOMER,
        now=time.time(),
    )
    with world.database.write_session() as session:
        assert incidents.close_incident(
            session, incident_id, incidents.Resolution.FALSE_ALARM, quiet=DAY, now=time.time()
        )


def test_lists_are_filtered_newest_first_and_limited(world, octy):
    names = ["one", "two", "three"]
    ids = {name: open_incident(world, name)[1] for name in names}
    listed = octy("incidents", "list", "--json").must().json["incidents"]
    assert [line["account"] for line in listed] == names[::-1]
    close_as_false_alarm(world, ids["two"])
    assert [line["account"] for line in octy("incidents", "list", "--json").json["incidents"]] == ["three", "one"]
    everything = octy("incidents", "list", "--all", "--json").json["incidents"]
    assert [(line["account"], line["resolution"]) for line in everything][1] == ("two", "false_alarm")
    assert [line["id"] for line in octy("incidents", "list", "--account", "one", "--json").json["incidents"]] == [
        ids["one"]
    ]
    assert len(octy("keys", "list", "--account", "one", "--json").json["keys"]) == 1
    short = octy("accounts", "list", "--limit", "2")
    assert "--limit 0 shows all" in short.stderr
    assert "one" not in short.stdout
    assert octy("accounts", "list", "--limit", "2", "--json").json["more"] is True
    assert len(octy("accounts", "list", "--limit", "0", "--json").json["accounts"]) == 3


def test_list_has_a_total_and_pages_through_all_rows(world, octy):
    for number in range(5):
        open_incident(world, f"c{number}")
    for command, row in (("accounts", "reference"), ("keys", "account"), ("incidents", "account")):
        pages = [octy(command, "list", "--limit", "2", "--page", page, "--json").must().json for page in "1234"]
        assert [[line[row] for line in page[command]] for page in pages] == [["c4", "c3"], ["c2", "c1"], ["c0"], []]
        assert [(page["more"], page["total"]) for page in pages] == [(True, 5), (True, 5), (False, 5), (False, 5)]
    first, last = (octy("accounts", "list", "--limit", "2", "--page", page).must() for page in "13")
    assert "1 to 2 of 5 in total, newest first → --page 2 shows the next, --limit 0 shows all" in first.stderr
    assert "5 to 5 of 5 in total, newest first → --limit 0 shows all" in last.stderr
    assert (
        "There is no page 4; there are 5 rows in total."
        in octy("accounts", "list", "--limit", "2", "--page", "4").stdout
    )
    assert octy("accounts", "list").must().stderr == "5 in total\n"


def test_long_lists_run_no_more_statements_than_short_ones(world, octy):
    statements: list[str] = []

    def counted(*words: str) -> int:
        statements.clear()
        octy(*words).must()
        return len(statements)

    def note(connection, _cursor, statement, *_):
        if (
            connection.engine.url.database == world.database.engine.url.database
        ):  # engines of other tests may be at work
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        open_incident(world, "first")
        lists = [("accounts", "list"), ("incidents", "list"), ("keys", "list")]
        few = [counted(*words) for words in lists]
        for number in range(5):
            open_incident(world, f"more-{number}")
        assert [counted(*words) for words in lists] == few
    finally:
        event.remove(Engine, "before_cursor_execute", note)


# Keys and accounts


def test_keys_show_lists_recent_sources(world, octy):
    pair = world.register()
    fail(world, pair, 2, source="192.0.2.1", outcome=Outcome.ACCEPTED)
    fail(world, pair, 5, source="192.0.2.2")
    fail(world, pair, 7, source="192.0.2.3", at=time.time() - 8 * DAY)
    report = octy("keys", "show", pair.public_key, "--json").must().json
    assert [(use["source"], use["outcome"], use["count"]) for use in report["uses"]] == [
        ("192.0.2.2", "wrong_secret", 5),
        ("192.0.2.1", "accepted", 2),
    ]
    assert report["pair"]["first_used_at"] is not None
    page = octy("keys", "show", pair.public_key).must().stdout
    assert "192.0.2.1" in page
    assert "192.0.2.3" not in page


def test_sources_that_are_no_address_are_described_as_in_mails(world, octy):
    pair, incident_id = open_incident(world)
    for source in ("unix", "unknown", "*"):  # the last one: no further source goes by name then
        fail(world, pair, 1, source=source)
    for words in (("keys", "show", pair.public_key), ("incidents", "show", incident_id)):
        page = octy(*words).must().stdout
        assert all(said in page for said in ("many other addresses", "a local connection", "an unknown address"))
        assert {use["source"] for use in octy("keys", "show", pair.public_key, "--json").must().json["uses"]} >= {"*"}


@pytest.mark.parametrize(
    ("age", "everything", "copies"),
    [
        (DAY, "old@acme.example", ["new@acme.example"]),
        (8 * DAY, "new@acme.example", ["old@acme.example"]),
        (22 * DAY, "new@acme.example", []),
    ],
)
def test_accounts_show_says_where_security_mails_go_after_a_contact_change(world, octy, age, everything, copies):
    changed = time.time() - age
    with world.database.write_session() as session:
        account = create_account(session, "acme", {"contact_email_address": "old@acme.example"}, changed - DAY)
        change_contact(session, account, {"contact_email_address": "new@acme.example"}, changed)
    report = octy("accounts", "show", "acme", "--json").must().json
    assert report["contact_email_address"] == "new@acme.example"
    assert report["security_addresses"] == [everything, *copies]
    assert "go to it after 7 days" in octy("accounts", "show", "acme").must().stdout


def test_keys_show_says_that_the_key_pair_was_exposed_over_plain_http(world, octy):
    pair, other = world.register("acme"), world.register("other")
    expose(world, pair.public_key)
    assert (
        octy("keys", "show", pair.public_key, "--json").must().json["pair"]["exposed_at"] == "2026-02-02T02:40:00.000Z"
    )
    assert re.search(r"sent over plain HTTP +2026-02-02 02:40:00Z", octy("keys", "show", pair.public_key).must().stdout)
    assert re.search(r"sent over plain HTTP +–", octy("keys", "show", other.public_key).must().stdout)


def test_accounts_show_lists_notices_with_mails_and_regenerations(world, octy):
    pair = world.register("acme")
    exposed = expose(world, pair.public_key)
    with world.database.write_session() as session:
        account = create_account(session, "other", {"contact_email_address": "old@other.example"}, NOW)
        change_contact(session, account, {"contact_email_address": "new@other.example"}, NOW)
        other_id = account.id
    [(changed,)] = world.rows("SELECT id FROM notice WHERE kind = 'contact_changed'")
    put_mail(world, other_id, f"{changed}/contact_changed", MailState.FAILED, "rcpt-550")
    put_mail(world, other_id, f"{changed}/new_contact", MailState.SENT)
    assert in_session(world.database, order_keys, exposed, leaked=False, now=NOW + 60)

    report = octy("accounts", "show", "acme", "--json").must().json
    [notice] = report["notices"]
    assert (notice["id"], notice["kind"], notice["public_key"]) == (exposed, "exposed", pair.public_key)
    assert {each["cause"]: each["id"] for each in report["regenerations"]}["exposure"] == notice["regeneration_id"]
    assert [(mail["key"], mail["state"]) for mail in notice["mails"]] == [(f"{exposed}/exposed/1", "sent")]
    page = octy("accounts", "show", "acme").must().stdout
    assert re.search(rf"keys sent over plain HTTP +2026-02-02 02:40:00Z +exposed sent +open +{exposed}", page)

    [notice] = octy("accounts", "show", "other", "--json").must().json["notices"]
    assert (notice["public_key"], notice["regeneration_id"]) == (None, None)
    page = octy("accounts", "show", "other").must().stdout
    told = r"contact_changed failed \(rcpt-550\), new_contact sent +– "
    assert re.search(rf"contact address changed +2026-02-02 02:40:00Z +{told}", page)


def test_accounts_show_counts_omitted_notices_and_mails(world, octy):
    pair = world.register("acme")
    with world.database.write_session() as session:
        for number in range(3):
            session.add(Notice(id=f"{number:036}", account_id=pair.account_id, kind="webhook_changed", at=utc(NOW)))
    for number in range(4):
        put_mail(world, pair.account_id, f"{number:036}/alert", MailState.SENT)
    note = octy("accounts", "show", "acme", "--limit", "2").must().stderr
    assert note == "not all rows are shown: notices 2 of 3, mails 2 of 4 → --limit 0 shows all\n"
    report = octy("accounts", "show", "acme", "--limit", "2", "--json").must().json
    assert [len(report[name]) for name in ("notices", "mails")] == [2, 2]
    assert [report[name] for name in ("notices_total", "mails_total")] == [3, 4]
    assert [len(notice["mails"]) for notice in report["notices"]] == [1, 1]
    whole = octy("accounts", "show", "acme", "--limit", "0", "--json").must().json
    assert [len(whole[name]) for name in ("notices", "mails")] == [3, 4]
    assert octy("accounts", "show", "acme").must().stderr == ""


def test_keys_show_counts_omitted_sources(world, octy):
    pair = world.register()
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE key_pair SET state = 'retired', retired_at = 1")
    for number in range(3):
        fail(world, pair, 1 + number, source=f"192.0.2.{number}", outcome=Outcome.RETIRED)
    note = octy("keys", "show", pair.public_key, "--limit", "2").must().stderr
    assert note == "not all rows are shown: uses 2 of 3, uses after its end 2 of 3 → --limit 0 shows all\n"
    report = octy("keys", "show", pair.public_key, "--limit", "2", "--json").must().json
    assert [use["count"] for use in report["uses"]] == [3, 2]
    assert (report["uses_total"], report["late_uses_total"]) == (3, 3)
    assert len(octy("keys", "show", pair.public_key, "--limit", "0", "--json").must().json["uses"]) == 3
    assert octy("keys", "show", pair.public_key).must().stderr == ""


def test_incidents_show_counts_omitted_uses_of_retired_key_pairs(world, octy):
    old, (_, incident_id) = world.register(), open_incident(world, "other")
    with world.database.write() as connection:
        retired = "state = 'retired', retired_at = 1, account_id = (SELECT account_id FROM incident)"
        connection.exec_driver_sql(f"UPDATE key_pair SET {retired} WHERE public_key = '{old.public_key}'")
    for number in range(21):
        fail(world, old, 1, source=f"192.0.2.{number}", outcome=Outcome.RETIRED)
    done = octy("incidents", "show", incident_id).must()
    assert "not all rows are shown: uses of retired key pairs 20 of 21 → `octy keys show" in done.stderr
    report = octy("incidents", "show", incident_id, "--json").must().json
    assert (len(report["late_uses"]), report["late_uses_total"]) == (20, 21)


def test_accounts_show_says_that_the_mail_of_a_notice_is_not_ordered_yet(world, octy):
    with world.database.write_session() as session:
        account = create_account(session, "acme", {"contact_email_address": "old@acme.example"}, NOW)
        change_contact(session, account, {"contact_email_address": "new@acme.example"}, NOW)
    assert "being sent" in octy("accounts", "show", "acme").must().stdout
    assert octy("accounts", "show", "acme", "--json").must().json["notices"][0]["mails"] == []


def test_accounts_show_says_that_a_mail_is_withheld(world, octy):
    pair, incident_id = open_incident(world)
    put_mail(world, pair.account_id, f"{incident_id}/reminder", MailState.PENDING, DAILY_CAP)
    assert re.search(r"reminder +withheld until tomorrow ", octy("accounts", "show", "acme").must().stdout)


def test_incidents_show_sums_up_sources_beyond_the_most_frequent_ones(world, octy):
    pair, incident_id = open_incident(world)
    sources = [f"198.51.100.{number}" for number in range(60)]
    for source in sources:
        fail(world, pair, 1, source=source)
    report = octy("incidents", "show", incident_id, "--json").must().json
    more = report["source_count"] - len(report["sources"])
    assert more > 0
    assert re.search(rf"\b{more} more +{more} ", octy("incidents", "show", incident_id).must().stdout)


@pytest.mark.parametrize(
    ("result", "leaked", "said"),
    [
        (AmendmentResult(closed=True), False, "The incident stays closed; its answer is recorded."),
        (AmendmentResult(closed=False), True, "The old key pair is revoked: all apps refuse it within one second."),
        (AmendmentResult(closed=False), False, "The worker continues the incident with this answer."),
    ],
)
def test_amendment_is_told_with_what_it_means(result, leaked, said):
    assert " ".join(amendment_lines(result, leaked=leaked)).startswith(said)
