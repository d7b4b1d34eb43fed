"""docs/mails.md and examples/mails are complete, and the examples work."""

import re
from dataclasses import fields
from datetime import timedelta

import pytest
from support.mail_rig import settings
from support.paths import ROOT

from octy_middleware.http.client_address import UNIX, UNKNOWN
from octy_middleware.http.event import OVERFLOW
from octy_worker import formatting
from octy_worker.mail.environment import build_environment
from octy_worker.mail.phrasing import rate
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.samples import samples
from octy_worker.mail.template_check import find_template_problems
from octy_worker.mail.translation import Translation
from octy_workflows.messages import MailKind

DOCUMENT = (ROOT / "docs" / "mails.md").read_text("utf-8")
EXAMPLE = ROOT / "examples" / "mails"


@pytest.mark.parametrize("kind", list(MailKind))
def test_every_kind_and_fact_is_documented(kind):
    [row] = re.findall(rf"^\| `{kind}` \|.*", DOCUMENT, re.MULTILINE)
    if "the same" in row:
        return
    told = set(re.findall(r"`(\w+)`", row.rpartition("|")[0].rpartition("|")[2]))
    assert told == {field.name for field in fields(samples(kind, "")[0])} - {"kind", "name"}


def test_every_name_that_templates_may_use_is_documented():
    made = build_environment(settings())
    fresh = type(made)()
    ours = (made.globals.keys() - fresh.globals.keys()) | (made.filters.keys() - fresh.filters.keys())
    told = set(re.findall(r"`(\w+)[`(]", DOCUMENT))
    assert ours <= told
    palette = {name for name in dir(made.globals["colours"]) if not name.startswith("_")} - {"of"}
    assert palette <= told


def test_german_example_templates_pass_the_check():
    made = MailRenderer(settings(mail_templates=str(EXAMPLE), mail_language="de"))
    assert find_template_problems(made, "") == []
    rendered = made.render(samples(MailKind.ALERT, "https://keys.octy.example")[0])
    assert "etwa 4 in der Minute" in rendered.text
    assert not re.search(r"\b(hours?|minutes?|attempts?|You|Questions)\b", rendered.text + rendered.html)


def test_german_example_translates_every_text():
    translation = Translation.read((EXAMPLE / "de",))
    spans = [formatting.format_duration(seconds) for seconds in (1, 2, 60, 120, 3_600, 7_200, 86_400 * 3)]
    paces = [rate(20, timedelta(seconds=seconds)) for seconds in (0, 2, 240, 7_200, 864_000, 8_640_000)]
    templates = (ROOT / "worker/octy_worker/mail/templates").rglob("*.*")
    nouns = {noun for path in templates for noun in re.findall(r'amount\("([\w ]+)"\)', path.read_text("utf-8"))}
    amounts = [formatting.format_count(number, noun) for noun in nouns for number in (1, 2)]
    places = [formatting.format_source(source) for source in (OVERFLOW, UNKNOWN, UNIX)]
    assert nouns
    assert [each for each in (*spans, *paces, *amounts, *places) if translation.translate(each) == each] == []
