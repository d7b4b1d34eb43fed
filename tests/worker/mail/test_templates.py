"""Templates, texts, names and colours of the host app; errors in them are reported before any mail is due."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.mail_rig import RecordingMailer, alert, open_world, settings
from temporalio.exceptions import ApplicationError

from octy_middleware.errors import ConfigurationError
from octy_middleware.states import MailState
from octy_worker.activities.mail import MailActivities
from octy_worker.mail import environment
from octy_worker.mail.colours import mix, text_colour_on
from octy_worker.mail.preview import SENT_WHEN
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.samples import samples
from octy_worker.mail.template_check import check_templates, find_template_problems
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import MailKind

SITE = "https://keys.octy.example"
OTHER_KEYS = "{% for other in facts.others %}{{ other.public_key }} {{ other.url }}\n{% endfor %}"


@pytest.fixture
def write(tmp_path):
    """Write a file into the host app's template folder."""

    def put(name, content):
        path = tmp_path / "templates" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    (tmp_path / "templates").mkdir()
    return put


@pytest.fixture
def renderer(tmp_path):
    return lambda **values: MailRenderer(settings(mail_templates=str(tmp_path / "templates"), **values))


def sample(kind=MailKind.ALERT, number=0):
    return samples(kind, SITE)[number]


# Template lookup


def test_template_of_the_host_app_replaces_ours_and_no_other(write, renderer):
    write("alert/subject.txt", "Acme: {{ facts.streak }} × refused")
    rendered = renderer().render(sample())
    assert rendered.subject == "Acme: 20 × refused"
    assert "What happened, and when?" in rendered.text
    assert renderer().render(sample(MailKind.REMINDER)).subject.startswith("Octy security reminder")


def test_base_page_template_of_the_host_app_is_used(write, renderer):
    write("page.html", "<html lang={{ language }}>ACME {{ self.title() }}{% block body %}{% endblock %}</html>")
    for kind in MailKind:
        assert renderer().render(sample(kind)).html.startswith("<html lang=en>ACME ")


def test_template_of_the_host_app_may_extend_ours_and_include_its_own_files(write, renderer):
    write("alert/body.txt", '{% import "parts.txt" as parts %}{{ parts.greeting(facts) }}{% include "acme.txt" %}')
    write("acme.txt", "Yours, {{ product }}")
    assert renderer(product_name="Acme").render(sample()).text == "Hello Ada,\nYours, Acme\n"


def test_template_of_the_language_folder_comes_first(write, renderer):
    write("alert/subject.txt", "all languages")
    write("reminder/subject.txt", "all languages")
    write("de/alert/subject.txt", "Zwanzigmal falsch")
    spoken = renderer(mail_language="de")
    assert spoken.render(sample()).subject == "Zwanzigmal falsch"
    assert spoken.render(sample(MailKind.REMINDER)).subject == "all languages"
    assert renderer().render(sample()).subject == "all languages"
    assert '<html lang="de">' in spoken.render(sample()).html


def test_translation_table_of_the_host_app_replaces_our_texts(write, renderer):
    write(
        "de/words.toml",
        '"# hours" = "# Stunden"\n"# attempts" = "# Versuche"\n"," = "."\n"about # a minute" = "etwa # in der Minute"\n'
        '"many other addresses" = "viele andere Adressen"\n',
    )
    write(
        "de/alert/body.txt",
        "{{ facts.total | amount('attempt') }}, {{ 86400 | span }}, {{ 'many other addresses' | translate }}, "
        "{{ rate(20, facts.opened_at - facts.first_at) }}, {{ 60 | span }}",
    )
    german = renderer(mail_language="de").render(replace(sample(), total=12_345)).text
    assert " ".join(german.split()) == (
        "12.345 Versuche, 24 Stunden, viele andere Adressen, etwa 4 in der Minute, 1 minute"
    )


def test_values_in_html_templates_of_the_host_app_are_escaped(write, renderer):
    write("alert/body.html", "<p>{{ facts.name }}{{ product }}</p>")
    hostile = replace(sample(), name="<b>")
    assert renderer(product_name="<i>").render(hostile).html == "<p>&lt;b&gt;&lt;i&gt;</p>"


def test_template_changed_after_its_check_is_not_reloaded(write, renderer):
    write("alert/subject.txt", "before")
    made = renderer()
    check_templates(made, SITE)
    write("alert/subject.txt", "{{ nonsense")
    assert made.render(sample()).subject == "before"


# Names and colours


def test_colours_of_the_host_app_are_used():
    chosen = settings(mail_accent_colour="#00ff88", mail_alert_colour="#112233", mail_calm_colour="#abcdef")
    html = MailRenderer(chosen).render(sample()).html
    for colour in ("#00ff88", "#112233", "#abcdef"):
        assert colour in html
    assert re.search(r'class="button-text" style="[^"]*color:#1b2430', html), "dark words on a light button"
    for ours in ("#1f4fd8", "#c2410c", "#2e7d4f"):
        assert ours not in html
        assert ours in MailRenderer(settings()).render(sample()).html


@pytest.mark.parametrize("colour", ["red", "#fff", "#12345", "#1234567", "#12345g", '#fff"><script>', "#ffffff;"])
def test_invalid_colour_is_rejected(colour):
    with pytest.raises(ConfigurationError, match="OCTY_MAIL_ACCENT_COLOUR"):
        WorkerSettings.build(**dict(settings()) | {"mail_accent_colour": colour})


def test_missing_colours_are_derived_from_the_given_ones():
    assert mix("#000000", "#ffffff", 0.5) == "#808080"
    assert mix("#123456", "#ffffff", 0) == "#123456"
    assert [text_colour_on(colour) for colour in ("#1f4fd8", "#000000", "#ffd400", "#ffffff")] == [
        *("#ffffff", "#ffffff", "#1b2430", "#1b2430")
    ]


# Errors


def test_our_templates_pass_the_check_and_every_mail_kind_has_a_sample():
    ours = Path(environment.__file__).with_name("templates")
    assert (
        find_template_problems(MailRenderer(settings(mail_templates=str(ours))), SITE) == []
    )  # as strictly as a host's
    assert find_template_problems(MailRenderer(settings()), SITE) == []
    assert set(SENT_WHEN) == set(MailKind)


FAULTS = {
    "syntax": ("alert/body.txt", "fine\n{% if facts.name %}\nno end", "line 3"),
    "a name that nothing has": ("alert/body.html", "fine\n\n{{ produkt }}", "line 3: 'produkt' is undefined"),
    "a fact that there is none": ("keys_retired/body.txt", "\n{{ facts.nmae }}", "line 2: UndefinedError"),
    "a fact, in a branch seldom taken": (
        "new_keys/body.txt",
        "{% if facts.leaked %}\n{{ facts.nmae }}{% endif %}",
        "line 2: UndefinedError",
    ),
    "a name, in a branch never taken": (
        "alert/subject.txt",
        "{% if 0 %}{{ x.y }}{% endif %}",
        "line 1: 'x' is undefined",
    ),
    "a name, beside imported ones": (
        "alert/subject.txt",
        '{% from "parts.txt" import greeting, row as line %}{{ line("a", produkt) }}',
        "line 1: 'produkt' is undefined",
    ),
    "a filter that there is none": ("alert/subject.txt", "{{ product | upppper }}", "line 1: No filter named"),
    "a file that is not there": ("alert/subject.txt", '{% include "gone.txt" %}', "line 1: TemplateNotFound"),
    "a sum that can't be made": ("alert/subject.txt", "\n{{ product + 1 }}", "line 2: TypeError"),
    "no UTF-8": ("alert/subject.txt", b"\xff\xfe", "UnicodeDecodeError"),
    "in a file for no mail": ("extra.txt", "{{ nothing", "line 1"),
}


@pytest.mark.parametrize(("name", "content", "said"), FAULTS.values(), ids=FAULTS)
def test_template_error_is_reported_with_file_and_line(write, renderer, name, content, said):
    path = write(name, content)
    with pytest.raises(ConfigurationError) as caught:
        check_templates(renderer(), SITE)
    first = str(caught.value).splitlines()[0]
    assert said in first
    assert (path if said != "UnicodeDecodeError" else name) in first


def test_all_template_errors_are_reported_at_once(write, renderer):
    write("alert/subject.txt", "{{ one }}")
    write("reminder/subject.txt", "{{ two }}")
    with pytest.raises(ConfigurationError, match=r"'one'(.|\n)*'two'"):
        check_templates(renderer(), SITE)


def test_error_in_a_language_file_is_reported_once_and_the_file_it_hides_is_checked_too(write, renderer):
    write("de/alert/subject.txt", "{{ one }}")
    write("alert/subject.txt", "{{ two }}")
    assert [problem.split()[-3] for problem in find_template_problems(renderer(mail_language="de"), SITE)] == [
        "'one'",
        "'two'",
    ]


def test_template_blocks_may_use_the_variables_of_our_base_page(write, renderer):
    body = f"{{% block body %}}{{{{ parts.greeting(facts) }}}}{OTHER_KEYS}{{% endblock %}}"
    write("alert/body.html", f'{{% extends "page.html" %}}{body}')
    check_templates(renderer(), SITE)
    assert "Hello Ada," in renderer().render(sample()).html


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mail_templates": "/nowhere/at/all"}, "OCTY_MAIL_TEMPLATES.*is not a folder"),
        ({"mail_language": "de"}, "OCTY_MAIL_LANGUAGE.*set OCTY_MAIL_TEMPLATES"),
    ],
)
def test_missing_template_folder_or_language_is_rejected(values, said):
    with pytest.raises(ConfigurationError, match=said):
        MailRenderer(settings(**values))


@pytest.mark.parametrize("language", ["../etc", "", "de/", "deutsch ", "d"])
def test_language_setting_with_a_path_is_rejected(language):
    with pytest.raises(ConfigurationError, match="OCTY_MAIL_LANGUAGE"):
        WorkerSettings.build(**dict(settings()) | {"mail_language": language})


@pytest.mark.parametrize("table", ["no toml", '"# hours" = 3', "[hours]\n", b"\xff"])
def test_invalid_translation_table_is_rejected(write, renderer, table):
    path = write("words.toml", table)
    with pytest.raises(ConfigurationError, match=re.escape(path)):
        renderer()


@pytest.fixture
def world(tmp_path):
    yield from open_world(tmp_path, "sqlite")


def test_template_that_fails_at_send_time_loses_no_mail_and_logs_no_facts(world, write, renderer, caplog):
    """It passed the template check: no sample has a name like this customer's."""
    path = write("alert/body.txt", "Hello\n{% if facts.name == 'Zoe' %}{{ facts.name + 1 }}{% endif %}" + OTHER_KEYS)
    made = renderer()
    check_templates(made, SITE)
    mailer = RecordingMailer()
    activities = MailActivities(
        database=world.database,
        mailer=mailer,
        renderer=made,
        links=world.links,
        sealer=world.sealer,
        settings=settings(),
        clock=lambda: world.now,
    )
    world.rename("Zoe")
    order = alert(world.incident())
    with caplog.at_level(logging.INFO), pytest.raises(ApplicationError, match="template"):
        activities.send_mail(order)
    key = f"{order.subject_id}/alert/1"
    assert (world.mail(key).state, world.mail(key).last_error) == (MailState.PENDING, "template")
    assert f"{path}, line 2" in caplog.text
    assert "octy mail preview" in caplog.text
    assert "Zoe" not in caplog.text
    world.rename("Ada")
    assert activities.send_mail(order).state == MailState.SENT
    assert len(mailer.envelopes) == 1
