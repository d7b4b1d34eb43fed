"""The mail sink over real SMTP, in its own process: TLS is required, and mails are on disk before the 250."""

import os
import signal
import smtplib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import httpx2
import pytest

from octy_worker.dev.certificates import Certificate, ensure_certificate
from octy_worker.dev.inbox import Inbox
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import Process, ProcessGroup, free_port, is_listening

CASE = "0192f0a0-1111-7222-8333-444455556666"


@dataclass
class Running:
    """A sink in its own process."""

    process: Process
    inbox: Inbox
    certificate: Certificate
    smtp_port: int
    page: str

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=10)

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate.ca)


@pytest.fixture(scope="module")
def sink(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sink")
    certificate = ensure_certificate(folder / "tls")
    smtp_port, page_port = free_port(), free_port()
    with ProcessGroup(folder / "logs", {**os.environ, "PYTHONWARNINGS": "error"}) as group:
        process = group.start(
            "mail",
            sink_command(folder / "mail", certificate, smtp_port=smtp_port, page_port=page_port),
        )
        process.wait_until(lambda: is_listening(smtp_port) and is_listening(page_port), 20)
        yield Running(process, Inbox(folder / "mail"), certificate, smtp_port, f"http://127.0.0.1:{page_port}")
        assert "Warning" not in process.log_tail()


def a_mail(subject: str = "Hello", text: str = "Body", html: str | None = None) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.com", "b@example.com", subject
    mail["Message-ID"] = f"<{CASE}.alert.1@example.com>"
    mail.set_content(text)
    if html is not None:
        mail.add_alternative(html, subtype="html")
    return mail


def test_mail_over_verified_tls_is_on_disk_when_accepted(sink):
    before = len(sink.inbox.messages())
    with sink.connect() as smtp:
        smtp.starttls(context=sink.trusting())
        smtp.send_message(
            a_mail("Grüße", "siehe https://localhost:1/alert/x.", "<p>siehe</p>"), to_addrs="b@example.com"
        )
        mails = sink.inbox.messages()
    assert len(mails) == before + 1
    mail = mails[-1]
    assert (mail.to, mail.subject, mail.message_id) == ("b@example.com", "Grüße", f"<{CASE}.alert.1@example.com>")
    assert (mail.kind, mail.subject_id) == ("alert", CASE)
    assert mail.text.strip() == "siehe https://localhost:1/alert/x."
    assert mail.html.strip() == "<p>siehe</p>"
    assert mail.links == ("https://localhost:1/alert/x",)
    assert abs(datetime.now(UTC) - mail.received_at) < timedelta(seconds=30)
    assert mail.path.stat().st_mode & 0o777 == 0o600


def test_each_recipient_gets_a_copy(sink):
    with sink.connect() as smtp:
        smtp.starttls(context=sink.trusting())
        smtp.send_message(a_mail("Copies"), to_addrs=["b@example.com", "c@example.com"])
    copies = [mail for mail in sink.inbox.messages() if mail.subject == "Copies"]
    assert [mail.to for mail in copies] == ["b@example.com", "c@example.com"]


def test_mail_without_tls_is_rejected(sink):
    before = len(sink.inbox.messages())
    with sink.connect() as smtp, pytest.raises(smtplib.SMTPSenderRefused, match="STARTTLS") as caught:
        smtp.send_message(a_mail())
    assert caught.value.smtp_code == 530
    assert len(sink.inbox.messages()) == before


def test_client_without_the_authority_does_not_send(sink):
    with sink.connect() as smtp, pytest.raises(ssl.SSLCertVerificationError):
        smtp.starttls(context=ssl.create_default_context())
    with sink.connect() as smtp:  # and the sink lives on
        assert smtp.noop()[0] == 250


def test_oversized_mail_is_rejected_permanently(sink):
    with sink.connect() as smtp:
        smtp.starttls(context=sink.trusting())
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            smtp.send_message(a_mail(text="x" * 70 * 20_000))
    assert caught.value.smtp_code == 552


def test_unwritable_folder_is_a_temporary_error(sink):
    moved = sink.inbox.folder.rename(sink.inbox.folder.with_name("away"))
    try:
        with sink.connect() as smtp:
            smtp.starttls(context=sink.trusting())
            with pytest.raises(smtplib.SMTPDataError) as caught:
                smtp.send_message(a_mail())
    finally:
        moved.rename(sink.inbox.folder)
    assert caught.value.smtp_code == 451
    assert "could not be stored" in sink.process.log_tail()


def test_inbox_page_is_served(sink):
    with sink.connect() as smtp:
        smtp.starttls(context=sink.trusting())
        smtp.send_message(a_mail("On the page"))
    with httpx2.Client(base_url=sink.page, trust_env=False) as browser:
        assert "On the page" in browser.get("/").text
        assert browser.get("/", headers={"Host": "rebound.example"}).status_code == 400


def test_accepted_mails_survive_a_kill(tmp_path):
    certificate = ensure_certificate(tmp_path / "tls")
    smtp_port = free_port()
    with ProcessGroup(tmp_path / "logs", dict(os.environ)) as group:
        process = group.start(
            "mail", sink_command(tmp_path / "mail", certificate, smtp_port=smtp_port, page_port=free_port())
        )
        process.wait_until(lambda: is_listening(smtp_port), 20)
        with smtplib.SMTP("127.0.0.1", smtp_port, timeout=10) as smtp:
            smtp.starttls(context=ssl.create_default_context(cafile=certificate.ca))
            smtp.send_message(a_mail("Kept"))
            os.kill(process.pid, signal.SIGKILL)
            smtp.close()
        assert [mail.subject for mail in Inbox(tmp_path / "mail").messages()] == ["Kept"]
