"""What is planted where it has no business is found there, and not where it belongs."""

from email.message import EmailMessage
from pathlib import Path

import pytest

from proofs.faults.secret_search import Canaries, command_lines, find, find_in_files, find_in_mails

SECRET = b"sk_" + b"A1" * 24 + b"b"
CANARIES = Canaries(frozenset({b"pepper-of-the-run"}), frozenset({b"token-of-a-link"}), frozenset({b"me@here.example"}))


@pytest.mark.parametrize("planted", [SECRET, b"pepper-of-the-run", b"token-of-a-link", b"me@here.example"])
def test_nothing_private_may_stand_in_a_log(tmp_path: Path, planted: bytes) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"all is well\n")
    assert list(find_in_files([log], CANARIES.for_logs())) == []
    log.write_bytes(b"error: " + planted + b" was refused\n")
    [found] = find_in_files([log], CANARIES.for_logs())
    assert "worker.log" in found
    assert planted.decode() not in found


@pytest.mark.parametrize(("planted", "count"), [(SECRET, 1), (b"token-of-a-link", 1), (b"me@here.example", 0)])
def test_the_store_holds_addresses_and_neither_secrets_nor_tokens(planted: bytes, count: int) -> None:
    assert len(list(find("the table mail", b"x" + b" " + planted, CANARIES.for_store()))) == count


@pytest.mark.parametrize("encoding", ["7bit", "base64", "quoted-printable"])
def test_a_secret_in_a_mail_is_found_however_it_travels(tmp_path: Path, encoding: str) -> None:
    mail = EmailMessage()
    mail.set_content(f"Your key: {SECRET.decode()} token-of-a-link", cte=encoding)
    path = tmp_path / "one.eml"
    path.write_bytes(bytes(mail))
    assert len(list(find_in_mails([path], CANARIES.for_mails()))) == 1
    path.write_bytes(path.read_bytes().replace(b"Subject", b"X-Subject"))
    mail.set_content("Open the page: token-of-a-link", cte=encoding)
    path.write_bytes(bytes(mail))
    assert list(find_in_mails([path], CANARIES.for_mails())) == []


def test_the_list_of_processes_is_read() -> None:
    assert b"pytest" in command_lines()
