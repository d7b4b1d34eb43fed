"""What is planted where it must not be is found there."""

from email.message import EmailMessage
from pathlib import Path

import pytest

from proofs.faults.secret_search import Secrets, command_lines, search, search_files, search_mails

SECRET_KEY = "sk_" + "A1" * 24 + "b"
PEPPER, TOKEN, ADDRESS = "pepper-of-the-run", "token-of-a-link", "me@here.example"
SECRETS = Secrets([PEPPER], [TOKEN], [ADDRESS])


@pytest.mark.parametrize("planted", [SECRET_KEY, PEPPER, TOKEN, ADDRESS])
def test_secret_in_log_is_found_and_not_repeated(tmp_path: Path, planted: str) -> None:
    log = tmp_path / "worker.log"
    log.write_text("all is well\n")
    assert list(search_files([log], SECRETS.in_logs)) == []
    log.write_text(f"error: {planted} was refused\n")
    [finding] = search_files([log], SECRETS.in_logs)
    assert "worker.log" in finding
    assert planted not in finding


@pytest.mark.parametrize(("planted", "count"), [(SECRET_KEY, 1), (PEPPER, 1), (TOKEN, 1), (ADDRESS, 0)])
def test_database_may_have_addresses_but_no_secrets_and_tokens(planted: str, count: int) -> None:
    assert len(list(search("the table mail", f"x {planted}".encode(), SECRETS.in_database))) == count


@pytest.mark.parametrize("encoding", ["7bit", "base64", "quoted-printable"])
@pytest.mark.parametrize(("planted", "count"), [(SECRET_KEY, 1), (PEPPER, 1), (TOKEN, 0), (ADDRESS, 0)])
def test_secret_in_mail_is_found_in_every_encoding(tmp_path: Path, encoding: str, planted: str, count: int) -> None:
    mail = EmailMessage()
    mail.set_content(f"Your key: {planted}", cte=encoding)
    path = tmp_path / "one.eml"
    path.write_bytes(bytes(mail))
    assert len(list(search_mails([path], SECRETS.in_mails))) == count


def test_command_lines_of_all_processes_are_read() -> None:
    assert any(b"pytest" in line for line in command_lines())
