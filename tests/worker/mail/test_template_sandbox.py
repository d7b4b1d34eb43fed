"""What a host's mail template can't reach: settings beside the named terms, secrets, classes, files."""

from pathlib import Path

import pytest
from support.mail_rig import settings

from octy_worker.mail.renderer import MailRenderer, TemplateRenderError
from octy_worker.mail.samples import samples
from octy_worker.mail.template_check import find_template_problems
from octy_workflows.messages import MailKind

REACHES = [
    "{{ terms.smtp_password }}",
    "{{ terms.peppers }}",
    "{{ terms.database_url }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ colours.of.__func__.__globals__ }}",
    "{{ bars.__globals__ }}",
    "{{ rate.__closure__ }}",
    "{{ '{0.__class__}'.format(terms) }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.environ }}",
    "{{ facts.__init__.__globals__ }}",
    "{{ terms.resend_after.__class__ }}",
    "{{ bins.append(1) }}",
    "{% include '/etc/hostname' %}",
    "{% include '../secret.txt' %}",
]


@pytest.mark.parametrize("reach", REACHES)
def test_template_reaches_no_settings_classes_or_files(tmp_path: Path, reach: str) -> None:
    folder = tmp_path / "templates"
    (folder / "alert").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("canary")
    (folder / "alert" / "subject.txt").write_text(reach)
    own = settings(mail_templates=str(folder))
    renderer = MailRenderer(own)
    with pytest.raises(TemplateRenderError, match=r"subject\.txt"):
        renderer.render(samples(MailKind.ALERT, own.public_url)[0])


def test_forbidden_access_in_a_template_is_reported_by_the_template_check(tmp_path: Path) -> None:
    (tmp_path / "alert").mkdir()
    (tmp_path / "alert" / "subject.txt").write_text(REACHES[0])
    own = settings(mail_templates=str(tmp_path))
    assert any("subject.txt" in fault for fault in find_template_problems(MailRenderer(own), own.public_url))
