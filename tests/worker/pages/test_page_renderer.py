"""Pages show untrusted text sanitized and escaped, in colours with enough contrast."""

import re
from importlib.resources import files

import pytest
from support.pages_rig import World
from support.pages_rules import text_of

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "curl\r\nSet-Cookie: a=b",
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil.test\x07link\x1b]8;;\x07",
    "abc\u202eexe.fdp\u2066x\u2069",
    "zero\u200bwidth\ufeff\u00ad",
    "nul\x00 del\x7f c1\x9b31m",
    "line\u2028para\u2029nbsp\u00a0tag\U000e0041",
    "x" * 200,
]


ACTIVE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@pytest.mark.parametrize("user_agent", HOSTILE)
def test_untrusted_user_agent_is_shown_sanitized(tmp_path, user_agent):
    world = World(tmp_path)  # what such a text looks like has nothing to do with the database
    incident_id = world.incident(sources=((user_agent[:64], 20, user_agent),))
    page = world.browser().get(world.alert_path(incident_id)).text  # the browser has judged the HTML already
    assert ACTIVE.search(page) is None
    assert "<script" not in page
    assert "<img" not in page
    assert "\nSet-Cookie" not in page
    assert "49" not in text_of(page).partition("Where the attempts came from")[2].partition("Alert ID")[0]
    assert "x" * 121 not in page
    world.close()


def test_every_printed_text_is_sanitized(tmp_path):
    world = World(tmp_path)
    incident_id = world.incident(rule="source", network="192.0.2.0\x1b[2J\u202e/24")
    page = world.browser(product_name="Oc\u2066ty\x07").get(world.alert_path(incident_id)).text
    assert ACTIVE.search(page) is None
    assert "from one network (192.0.2.0��/24)" in page
    assert "Oc�ty�" in page
    world.close()


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("help@octy.example", 'href="mailto:help@octy.example"'),
        ("https://octy.example/help", 'href="https://octy.example/help"'),
        ("the service desk", None),
    ],
)
def test_support_contact_is_a_link_when_it_is_an_address(tmp_path, contact, link):
    world = World(tmp_path)
    page = world.browser(support_contact=contact).get(world.alert_path(world.incident())).text
    assert contact in page
    assert (link in page) if link else ('href="mailto:' not in page)
    world.close()


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(scheme):
    style = (files("octy_worker.pages") / "templates" / "pages.css").read_text("utf-8")
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light if scheme == "light" else dark.partition("*,")[0]))
    texts = "text muted primary primary-hover"
    on = {"background": texts, "card-background": texts, "code-background": "text"}
    on |= {"on-primary": "primary primary-hover", "on-danger": "danger danger-hover"}
    on |= {f"{kind}-background": f"{kind}-text" for kind in ("warning", "waiting", "done", "neutral")}
    for back, texts in on.items():
        for text in texts.split():
            dim, bright = sorted((luminance(colours[back]), luminance(colours[text])))
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (scheme, back, text)
