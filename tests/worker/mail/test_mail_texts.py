"""What mails say in text and HTML, and that untrusted text in them does nothing."""

import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from support.mail_rig import ADDRESS, DAY, PUBLIC_KEY, SECRET, START, alert, open_world, settings

from octy_middleware.clock import utc
from octy_middleware.db.models import Account
from octy_middleware.domain.accounts import StaffChange, security_addresses
from octy_middleware.http.outcome import Outcome
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.samples import samples
from octy_worker.sanitize import MailText
from octy_workflows.messages import MailKind, SendMailInput

URL = re.compile(r"https?://\S+")

HOSTILE = [
    "curl\r\nBcc: eve@evil.example\r\n\r\n<h1>hi</h1>",
    "\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",
    "\x9b31m\x07\x08\x00\x7f\x85next",
    "abc\u202e\u2066gnp.exe\u2069\u200b\u200f\ufeff",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"><a href='https://evil.example'>log in</a>",
    "{{ 70007 * 3 }}{% raw %}",
    "visit https://evil.example/login or www.evil.example or evil.example now",
    "HTTP://EVIL.EXAMPLE ftp://evil.example mailto:eve@evil.example \\\\evil.example\\share",
    "a\u2028b\u2029c\vd\fe",
    "é" * 50 + "漢字🔥" + "z\u0301\u0302\u0303\u0304" * 40,
    "A" * 5000,
    "[" * 300,
]


class Page(HTMLParser):
    """The elements, texts and links of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.attributes, self.words = set(), set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        self.links |= {value for name, value in attrs if name == "href"}

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


@pytest.fixture
def world(tmp_path):
    """What mails say does not depend on the kind of database; what goes into mails from both: `test_mail_activity`."""
    yield from open_world(tmp_path, "sqlite")


def both(rendered):
    """Return text and HTML of a mail as running text."""
    return " ".join(rendered.text.split()), Page(rendered.html).text.replace("’", "'")


@pytest.fixture
def alerted(world):
    world.failures("203.0.113.7", 14)
    world.failures("198.51.100.23", 6, user_agent="python-requests/2.31.0", ago=30)
    return world.rendered(alert(world.incident()))


def test_alert_mail_has_reason_time_count_and_sources(alerted):
    assert alerted.subject == "Octy security alert: 20 failed attempts with your API key"
    for form in both(alerted):
        for fact in (
            "Hello Ada,",
            PUBLIC_KEY,
            "20 requests in a row",
            "wrong or empty secret key",
            "2026-02-02 02:36:00 UTC",  # first
            "2026-02-02 02:40:00 UTC",  # twentieth
            "about 5 a minute",
            "203.0.113.7",
            "curl/8.5.0",
            "198.51.100.23",
            "python-requests/2.31.0",
            "Your keys still work, and nothing is locked",
            "req-7f3a9c1d",
        ):
            assert fact in form


def test_alert_mail_has_the_link_and_says_what_follows(world, alerted):
    for form in both(alerted):
        for fact in (
            "It was us",
            "For 24 hours we send no new alert",
            "It was not us",
            "until 24 hours after",
            "at once",
        ):
            assert fact in form
        for fact in (
            "We remind you after 24 hours and 3 days",
            "We do not replace them without your answer",
            "After 14 days",
        ):
            assert fact in form
        assert "How do we know this?" in form
        assert "We never ask for your secret key" in form
    incident = re.search(r"Alert ID: (\S+)", alerted.text)[1]
    url = world.links.alert_url(incident)
    assert f"\n\n{url}\n\n" in alerted.text
    assert Page(alerted.html).links == {url}


def test_alert_mail_states_the_times_of_the_settings(world):
    rendered = world.rendered(
        alert(world.incident()),
        regenerate_on_silence=True,
        incident_remind_after=(),
        quiet_after_false_alarm=2 * DAY,
        overlap=5 * DAY,
        threshold=50,
        product_name="Zoë & Söhne <AG>",
    )
    for form in both(rendered):
        assert "after 14 days, we replace your keys" in form
        assert "remind" not in form
        assert "For 48 hours we send" in form
        assert "until 5 days after" in form
        assert "when 50 such requests come in a row" in form
        assert "Zoë & Söhne <AG>" in form
    assert rendered.subject.startswith("Zoë & Söhne <AG> security alert")


@pytest.mark.parametrize("kind", MailKind)
def test_mails_state_no_time_of_zero_seconds(kind):
    renderer = MailRenderer(settings(overlap=0, quiet_after_false_alarm=0, incident_remind_after=()))
    for facts in samples(kind, "https://keys.octy.example"):
        for form in both(renderer.render(facts)):
            assert "0 seconds" not in form


@pytest.mark.parametrize("kind", MailKind)
@pytest.mark.parametrize("overlap", [0, DAY])
def test_heading_and_label_of_a_key_follow_a_blank_line(kind, overlap):
    renderer = MailRenderer(settings(deliver="mail", overlap=overlap))
    for facts in samples(kind, "https://keys.octy.example"):
        text = renderer.render(facts).text
        assert not re.findall(r"[^-\n]\n(?:.*\n---|(?:Old p|P)ublic key:\n|Secret key:\n)", text)


def test_alert_mail_of_the_source_rule_names_the_network(world):
    rendered = world.rendered(alert(world.incident(rule="source", network="203.0.113.0/24")))
    for form in both(rendered):
        assert "from the network 203.0.113.0/24" in form
        assert "There was no successful request" not in form
        assert "A successful request from the same network sets the count back to zero" in form


@pytest.mark.parametrize("network", ["203.0.113.0/24", ""])
def test_grouped_alert_mail_explains_the_rule_that_all_of_its_keys_have(network):
    *_, grouped = samples(MailKind.ALERT, "https://keys.octy.example")
    others = tuple(replace(other, network=MailText(network)) for other in grouped.others)
    for form in both(MailRenderer(settings()).render(replace(grouped, others=others))):
        explained = form[form.index("How do we know this?") :]
        assert ("For every public key and network we count" in explained) == bool(network)
        assert ("from the same network" in explained) == bool(network)
        assert ("come in a row from one network" in explained) == bool(network)


def test_alert_mail_of_the_window_rule_states_the_time_window(world):
    rendered = world.rendered(alert(world.incident(rule="window")))
    for form in both(rendered):
        assert "20 requests within" in form
        assert "There may have been successful requests in between." in form
        assert "requests in a row used" not in form


def test_alert_mail_names_five_sources_and_counts_the_rest(world):
    for number in range(1, 9):
        world.failures(f"203.0.113.{number}", number * 1000)
    world.failures("203.0.113.99", 10**6, outcome=Outcome.ACCEPTED)
    for form in both(world.rendered(alert(world.incident(failures=640)))):
        assert "203.0.113.8" in form
        assert "203.0.113.4" in form
        assert "203.0.113.3" not in form
        assert "203.0.113.99" not in form
        assert "and" in form
        assert "3 more sources" in form
        assert "6,000" in form
        assert "36,000 attempts" in form


@pytest.mark.parametrize(
    ("source", "words"),
    [("*", "many other addresses"), ("unknown", "an unknown address"), ("unix", "a local connection")],
)
def test_alert_mail_describes_sources_that_are_no_address(world, source, words):
    world.failures(source, 20, user_agent="")
    for form in both(world.rendered(alert(world.incident()))):
        assert words in form
        assert re.search("no user agent|last user agent: none", form)


def test_alert_mail_without_recorded_attempts_says_so(world):
    """Details are capped and age out; counts too. The mail is still complete."""
    rendered = world.rendered(alert(world.incident(request_id="")))
    for form in both(rendered):
        assert "Where did the requests" not in form
        assert "20 attempts" in form
        assert "(no ID)" in form


@pytest.mark.parametrize("kind", [MailKind.ALERT, MailKind.REMINDER])
def test_attempts_over_time_are_drawn_in_html_cells_and_in_text(world, kind):
    for ago, number in [(240, 2), (180, 9), (60, 18)]:
        world.failures("203.0.113.7", number, ago=ago)
    rendered = world.rendered(alert(world.incident(), kind=kind))
    assert (
        "Each line counts from its time to the time of\nthe next line:\n\n"
        "  02:36  2 #####\n"
        "  02:37  9 ####################\n"
        "  02:38  0\n"
        "  02:39 18 ########################################\n\n"
    ) in rendered.text
    page = Page(rendered.html)
    heights = [value for name, value in page.attributes if name == "height"]
    assert heights == ["72", "8", "72", "35", "72", "72", "70"]  # of four places, three of them with a bar
    assert re.search(r"18 02:36 – 02:40 Attempts over time, in UTC. Each bar is 1 minute", page.text)


@pytest.mark.parametrize("minutes", [1, 7, 8, 15, 16, 24])
def test_all_rows_of_the_html_histogram_have_the_same_width(world, minutes):
    for number in range(minutes):
        world.failures("203.0.113.7", 1 + number, ago=60 * (minutes - number))
    html = world.rendered(alert(world.incident(first_at=utc(START - 60 * minutes)))).html
    table = re.search(r"<table[^>]*table-layout:fixed.*?(?=<p )", html, re.DOTALL)[0]
    rows = re.sub(r"<table role=.presentation. width=.100%.[^>]*style=.width:100%;.>.*?</table>", "", table).split(
        "</tr>"
    )
    widths = [sum(int(span or 1) for span in re.findall(r'<td(?:[^>]*colspan="(\d+)")?', row)) for row in rows[:2]]
    assert widths[0] == 1 + max(minutes, 16)
    assert widths[1] in (widths[0], 1 + minutes)


def test_reminder_mail_is_shorter_and_links_to_the_same_page(world, alerted):
    incident = world.incident()
    reminder = world.rendered(alert(incident, 1, MailKind.REMINDER))
    assert len(reminder.text) < 0.75 * len(alerted.text)
    assert Page(reminder.html).links == {world.links.alert_url(incident)}
    for form in both(reminder):
        assert "We remind you" not in form
        for fact in ("We still need your answer", PUBLIC_KEY, "It was us", "It was not us", "Your keys still work"):
            assert fact in form


OLD_GOES_ON = "It works until 24 hours after you collect the new keys"
OLD_STOPPED = "It has already stopped working"


@pytest.mark.parametrize(
    ("case", "said", "unsaid"),
    [
        (
            {"old": False},
            ["Your first Octy API key pair", "An account was opened"],
            ["old key pair", "New public key", OLD_GOES_ON, OLD_STOPPED],
        ),
        ({}, ["a new API key pair", "New public key", OLD_GOES_ON, PUBLIC_KEY], ["Your first", OLD_STOPPED]),
        ({"leaked": True}, ["a new API key pair", OLD_STOPPED, PUBLIC_KEY], ["Your first", OLD_GOES_ON]),
    ],
    ids=["first", "replaced", "leaked"],
)
def test_new_keys_mail_has_link_and_expiry(world, case, said, unsaid):
    regeneration = world.regeneration(**case)
    rendered = world.rendered(SendMailInput(regeneration, MailKind.NEW_KEYS, 1, START))
    url = world.links.reveal_url(regeneration, 1)
    assert f"\n\n{url}\n\n" in rendered.text
    assert Page(rendered.html).links == {url}
    assert SECRET not in rendered.text + rendered.html
    for form in both(rendered):
        for fact in (*said, "works only once and only for 24 hours, until 2026-02-03 02:40:00 UTC", "press the button"):
            assert fact in form
        for fact in (*unsaid, "earlier links"):
            assert fact not in form


@pytest.mark.parametrize("kind", [MailKind.NEW_KEYS, MailKind.NEW_KEYS_INSIDE])
def test_new_keys_mail_says_that_they_may_come_without_an_order(world, kind):
    """With `regenerate_on_silence` the workflow orders new keys when an alert gets no answer."""
    order = SendMailInput(world.regeneration(), kind, 1, START)
    for silent in (True, False):
        for form in both(world.rendered(order, regenerate_on_silence=silent)):
            assert ("because our security alert was not answered in time" in form) == silent


@pytest.mark.parametrize("kind", [MailKind.NEW_KEYS, MailKind.NEW_KEYS_INSIDE])
def test_subject_of_the_first_keys_does_not_call_them_new(kind):
    renderer = MailRenderer(settings())
    for facts in samples(kind, "https://keys.octy.example"):
        assert ("new" in renderer.render(facts).subject) == (facts.old_public_key is not None)


@pytest.mark.parametrize("sample", samples(MailKind.KEYS_ADDED, "https://keys.octy.example"), ids=["14", "1"])
def test_keys_added_mail_states_how_many_keys_there_are(sample):
    rendered = MailRenderer(settings()).render(sample)
    number = "1 key pair" if sample.count == 1 else "14 key pairs"
    assert rendered.subject == f"Octy security notice: {number} added to your account"
    for form in both(rendered):
        assert f"added {number} to your Octy account" in form
        assert ("For the others, write to us" in form) == (sample.count > 1)


def test_new_keys_mail_sent_again_has_the_next_link(world):
    regeneration = world.regeneration()
    rendered = world.rendered(SendMailInput(regeneration, MailKind.NEW_KEYS, 2, START))
    assert Page(rendered.html).links == {world.links.reveal_url(regeneration, 2)}
    for form in both(rendered):
        assert "Our earlier links no longer work" in form


@pytest.mark.parametrize(
    ("leaked", "last_used", "said"),
    [
        (False, None, ["Both key pairs worked for 24 hours, and that time is over", "never"]),
        (
            True,
            utc(START - 60),
            ["Someone else may know the secret key, so we stopped the key pair at once", "2026-02-02 02:39:00 UTC"],
        ),
    ],
)
def test_keys_retired_mail_names_the_retired_key_pair(world, leaked, last_used, said):
    regeneration = world.regeneration(leaked=leaked)
    world.retire_old_key_pair(last_used_at=last_used)
    rendered = world.rendered(SendMailInput(regeneration, MailKind.KEYS_RETIRED, 1, START))
    assert Page(rendered.html).links == set()
    assert not URL.search(rendered.text)
    for form in both(rendered):
        for fact in (PUBLIC_KEY, "has stopped working", "2026-02-02 02:40:00 UTC", "401", *said):
            assert fact in form


def test_exposed_mail_names_key_pair_time_and_source(world):
    notice = world.exposure()
    rendered = world.rendered(SendMailInput(notice, MailKind.EXPOSED, 1, START))
    url = world.links.notice_url(notice)
    assert rendered.subject == "Octy security notice: your API keys were sent over plain HTTP"
    assert f"\n\n{url}\n\n" in rendered.text
    assert Page(rendered.html).links == {url}
    for form in both(rendered):
        for fact in (
            "Hello Ada,",
            PUBLIC_KEY,
            "First seen today",
            "2026-02-02 02:40:00 UTC",
            "203.0.113.7",
            "curl/8.5.0",
            "could have read both keys",
            "We refused it",
            "change its address to https",
            "until 24 hours after you have collected the new keys",
            "req-7f3a9c1d",
            notice,
        ):
            assert fact in form


def test_contact_changed_mail_to_the_old_address_has_a_link(world):
    notice = world.move_to("eve@evil.example")
    rendered = world.rendered(SendMailInput(notice, MailKind.CONTACT_CHANGED, 1, START))
    url = world.links.notice_url(notice)
    assert rendered.subject == "Octy security notice: your contact address was changed"
    assert f"\n\n{url}\n\n" in rendered.text
    assert Page(rendered.html).links == {url}
    for form in both(rendered):
        for fact in (
            "Hello Ada,",
            "eve[at]evil[.]example",
            "If not, someone has your API keys",
            "2026-02-02 02:40:00 UTC",  # changed
            "2026-02-09 02:40:00 UTC",  # security mails follow
            "If you tick the box on the page, the current key pair stops working at once",
            notice,
        ):
            assert fact in form


def test_contact_changed_mail_says_that_support_staff_changed_the_address(world):
    notice = world.move_to("eve@evil.example", staff=StaffChange("ada", "asked by phone"))
    rendered = world.rendered(SendMailInput(notice, MailKind.CONTACT_CHANGED, 1, START))
    for form in both(rendered):
        assert "Our support staff changed the contact address" in form
        assert "2026-02-03 02:40:00 UTC" in form  # security mails follow
        assert "asked by phone" not in form
        assert "someone has your API keys" not in form
    with world.database.read_session() as session:
        account = session.get_one(Account, world.account_id)
        assert security_addresses(account, START + DAY - 1)[0] == ADDRESS
        assert security_addresses(account, START + DAY)[0] == "eve@evil.example"


def test_contact_changed_mail_states_how_long_the_old_address_gets_mails(world):
    world.move_to("new@elsewhere.example")
    with world.database.read_session() as session:
        account = session.get_one(Account, world.account_id)
        assert security_addresses(account, START + 7 * DAY - 1)[0] == ADDRESS
        assert security_addresses(account, START + 7 * DAY)[0] == "new@elsewhere.example"


def test_new_contact_mail_has_no_link_name_key_or_old_address(world):
    rendered = world.rendered(SendMailInput(world.move_to("eve@evil.example"), MailKind.NEW_CONTACT, 1, START))
    assert Page(rendered.html).links == set()
    assert not URL.search(rendered.text + rendered.html)
    assert rendered.subject == "Octy: this address was set as a contact address"
    for form in both(rendered):
        for fact in (
            "Hello,",
            "2026-02-09 02:40:00 UTC",
            "Security mails of the account will come here from",
            "Write to us",
        ):
            assert fact in form
        for absent in ("Ada", "customer", PUBLIC_KEY, "evil", "/notice/", "the security address of"):
            assert absent not in form


@pytest.mark.parametrize("kind", sorted(set(MailKind) - {MailKind.ACCOUNT_NOTICE}))
def test_mail_lines_are_short_and_html_loads_nothing(world, kind):
    world.failures("2001:db8:85a3:8d3:1319:8a2e:370:7348", 20, user_agent="Mozilla/5.0 " + "long.words." * 30)
    case = kind in (MailKind.ALERT, MailKind.REMINDER)
    subject = world.incident(public_key="pk_" + "0a" * 32) if case else world.subject(kind)
    rendered = world.rendered(SendMailInput(subject, kind, 1, START))
    assert [line for line in rendered.text.splitlines() if len(line) > 78 and not URL.fullmatch(line)] == []
    assert rendered.text.isascii()
    page = Page(rendered.html)
    assert not page.tags & {
        "img",
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "input",
        "svg",
        "video",
        "base",
    }
    assert not {name for name, _ in page.attributes} & {"src", "srcset", "background", "action", "poster", "data"}
    assert not re.search(r"url\(|@import|expression\(", rendered.html)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "prefers-color-scheme: dark" in rendered.html
    assert "max-width:600px" in rendered.html


@pytest.mark.parametrize("kind", [MailKind.ALERT, MailKind.REMINDER])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_untrusted_text_in_an_alert_mail_is_sanitized(world, kind, hostile):
    world.failures("203.0.113.7", 3, user_agent=hostile)
    world.failures(hostile, 9, user_agent=hostile, ago=30)
    incident = world.incident(request_id=hostile, rule="source", network=hostile)
    world.rename(hostile)
    plain = world.rendered(alert(incident, 1, kind))
    page = Page(plain.html)
    url = world.links.alert_url(incident)
    assert page.links == {url}
    assert set(URL.findall(plain.text)) == {url, "https://keys.octy.example"}
    assert not page.tags & {"script", "img"}
    assert {char for char in plain.text + plain.html if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")} <= {
        "\n"
    }
    assert not re.search(r"evil\.example|@evil|210021", plain.text + plain.html)
    assert "<h1>hi" not in plain.html
    assert max(map(len, (line for line in plain.text.splitlines() if line != url))) <= 78
    assert "\nBcc:" not in plain.text
    assert plain.subject.isprintable()
    assert len(plain.html) < 40_000


@pytest.mark.parametrize("hostile", HOSTILE)
def test_untrusted_text_in_a_notice_mail_is_sanitized(world, hostile):
    notice = world.exposure(source=hostile, user_agent=hostile, request_id=hostile)
    world.rename(hostile)
    rendered = world.rendered(SendMailInput(notice, MailKind.EXPOSED, 1, START))
    page, url = Page(rendered.html), world.links.notice_url(notice)
    assert page.links == {url}
    assert set(URL.findall(rendered.text)) == {url, "https://keys.octy.example"}
    assert not page.tags & {"script", "img"}
    assert not re.search(r"evil\.example|@evil|210021", rendered.text + rendered.html)
    assert not {char for char in rendered.text + rendered.html if unicodedata.category(char) in ("Cc", "Cf")} - {"\n"}
    assert max(map(len, (line for line in rendered.text.splitlines() if line != url))) <= 78


@pytest.mark.parametrize(
    "address", ["o'hara!#$%&*/=?^_`{|}~-@evil.example", "www.evil.com@evil.example", f"{'a' * 64}@{'b' * 63}.example"]
)
def test_new_address_in_a_mail_is_shown_whole_and_is_no_link(world, address):
    rendered = world.rendered(SendMailInput(world.move_to(address), MailKind.CONTACT_CHANGED, 1, START))
    for form in both(rendered):
        assert address not in form
        told = form.replace("[at]", "@").replace("[.]", ".")
        assert address.replace("'", "\u2019") in told.replace("'", "\u2019")
    assert not re.search(r"evil\.(example|com)|@evil", rendered.text + rendered.html)
