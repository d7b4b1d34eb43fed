"""A second factor is registered by link, certificate and code, or by link and FIDO token; one alone registers none."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from support.kept_rows import once_for_each_kind
from support.ssh_keys import SoftToken, SshKey
from support.staff_cli import StaffCli, code_of
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_worker.access.enrolment_text import EnrolmentText
from octy_worker.access.factor_enrolment import FactorEnrolment
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.orders import Order
from octy_worker.access.proofs import Evidence
from octy_worker.access.roles import Action
from octy_worker.access.signed_text import InvalidTextError
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

SEED = "7GL53UBTIRHD5G6ZSENACSZI24M2TW4W"


@dataclass(frozen=True)
class Kept:
    """What makes offices in fresh worlds, and ada's token in all of them: by commands only once."""

    office: Callable[[World], StaffCli]
    token: str


@pytest.fixture(scope="module")
def kept_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kept]:
    def fill(world: World) -> Kept:
        office = StaffCli.make(world)
        office.bootstrap()
        token = office.order("amy", "staff", "add", "ada", "--role", "responder").must().json["token"]
        office.certify("ada")
        return Kept(office.kept(), token)

    return once_for_each_kind(tmp_path_factory.mktemp, fill)


@pytest.fixture
def office(world: World, kept_for: Callable[[str], Kept]) -> StaffCli:
    """An admin, amy, and ada, who is invited and has a certificate."""
    return kept_for(world.database_kind).office(world)


@pytest.fixture
def token(office: StaffCli, kept_for: Callable[[str], Kept]) -> str:
    """Ada's."""
    return kept_for(office.world.database_kind).token


def receive(office: StaffCli, given: FactorEnrolment, now: float | None = None) -> tuple[str, str]:
    with office.world.database.write_session() as session:
        return office.access.factor_enrolments.receive(session, given, time.time() if now is None else now)


def refusal(office: StaffCli, given: FactorEnrolment, now: float | None = None) -> str:
    before = office.world.rows("SELECT COUNT(*) FROM staff_factor"), office.listed()
    with pytest.raises(RefusedSignatureError) as refused:
        receive(office, given, now)
    assert (office.world.rows("SELECT COUNT(*) FROM staff_factor"), office.listed()) == before
    return str(refused.value)


def test_factor_leads_back_to_the_order_that_invited_and_its_evidence_is_kept(office: StaffCli, token: str) -> None:
    given = office.enrolment("ada", token)
    handle, factor_id = receive(office, given)
    assert (handle, office.listed()["ada"]) == ("ada", ("responder", "active"))
    [(order_id,)] = office.world.rows("SELECT id FROM staff_order")
    assert office.world.rows("SELECT granted_by FROM staff_factor WHERE id = :id", id=factor_id) == [(order_id,)]
    [(order, detail)] = office.world.rows(
        "SELECT order_id, detail FROM audit_entry WHERE action = 'staff.factor_added' AND order_id <> ''"
    )
    assert order == order_id
    assert given.signature.splitlines()[1] in detail
    assert given.seed not in str(office.world.rows("SELECT * FROM staff_factor"))
    assert given.seed not in str(office.world.rows("SELECT * FROM audit_entry"))


REFUSED = [
    ("another namespace", {"namespace": "octy-order"}, "signed for 'octy-order'"),
    (
        "another server",
        {"text": {"server": "https://evil.example"}},
        "is for https://evil.example, and this",
    ),
    ("another installation", {"text": {"installation": "f" * 16}}, "another installation"),
    ("signed long ago", {"text": {"now": 1_790_000_000.0}}, "more than 5 minutes ago"),
    ("text about another link", {"text": {"token": "x"}}, "another link or another secret"),
    ("text about another secret", {"text": {"seed": SEED}}, "another link or another secret"),
    ("wrong code", {"code": "000000"}, "code is wrong"),
    ("no code", {"code": ""}, "code is wrong"),
    ("no signature", {"signature": ""}, "signature"),
]


@pytest.mark.parametrize(("changes", "why"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_enrolment_with_one_thing_wrong_is_refused(
    office: StaffCli, token: str, changes: dict[str, object], why: str
) -> None:
    assert why in refusal(office, office.enrolment("ada", token, **changes))
    receive(office, office.enrolment("ada", token))


def test_link_alone_registers_nothing_for_another_certificate(office: StaffCli, token: str) -> None:
    """Amy has read ada's mail."""
    assert "the enrolment link is not amy's" in refusal(office, office.enrolment("amy", token))
    forged = office.enrolment("amy", token, text={"handle": "ada"})
    assert "was not issued to ada" in refusal(office, forged)


def test_certificate_alone_registers_nothing(office: StaffCli, token: str) -> None:
    assert "this link is not valid" in refusal(office, office.enrolment("ada", "no-token"))
    receive(office, office.enrolment("ada", token))
    assert "was used" in refusal(office, office.enrolment("ada", token))


def test_code_that_registered_a_factor_orders_nothing(office: StaffCli, token: str) -> None:
    given = office.enrolment("ada", token)
    receive(office, given)
    with pytest.raises(RefusedSignatureError, match="used before"), office.world.database.write_session() as session:
        members = office.access.members
        members.use_totp(session, members.require(session, "ada"), given.code, time.time())


def test_secret_of_another_form_is_refused(office: StaffCli, token: str) -> None:
    for seed in ("", "7GL5", SEED.lower(), f"{SEED}AA"):
        given = replace(office.enrolment("ada", token), seed=seed)
        assert "another secret" in refusal(office, given)
    assert len(code_of(SEED)) == 6


@dataclass
class Token:
    """A FIDO token of ada's, with a certificate of an authority that is trusted."""

    office: StaffCli

    def __post_init__(self) -> None:
        authority = SshKey.make(self.office.world.folder / "token-ca")
        trusted = self.office.octy.variables
        trusted["OCTY_STAFF_CA_KEYS"] = f"{trusted['OCTY_STAFF_CA_KEYS']},{authority.public}"
        self.soft, now = SoftToken(), int(time.time())
        self.certificate = self.soft.certificate(authority, after=now - 60, before=now + 3600)

    def enrolment(self, token: str, *, flags: int = 0x05, **changes: str) -> FactorEnrolment:
        text = {"kind": FactorKind.HARDWARE_KEY, "seed": "", **changes}
        body = EnrolmentText.make(
            server="", installation=INSTALLATION, handle="ada", token=token, now=time.time(), **text
        ).to_bytes()
        signature = self.soft.sign(self.certificate, body, b"octy-enrolment", flags=flags)
        return FactorEnrolment(body, signature, token, text["seed"], "")

    def order(self) -> tuple[bytes, Evidence]:
        now = time.time()
        order = Order(uuid7(now), INSTALLATION, Action.RELEASE_ALERTS, "", {}, "phoned", "ada", int(now))
        return order.to_bytes(), Evidence(self.soft.sign(self.certificate, order.to_bytes()))


def test_token_that_verifies_its_user_is_registered_and_can_act(office: StaffCli, token: str) -> None:
    key = Token(office)
    body, evidence = key.order()
    with pytest.raises(RefusedSignatureError, match="ada is invited"), office.world.database.write_session() as session:
        office.access.receipts.receive(session, body, evidence, time.time())
    handle, factor_id = receive(office, key.enrolment(token))
    assert (handle, office.listed()["ada"]) == ("ada", ("responder", "active"))
    [(kind, secret)] = office.world.rows("SELECT kind, secret FROM staff_factor WHERE id = :id", id=factor_id)
    assert (kind, secret) == ("hardware-key", key.soft.public_line.split()[1])
    with office.world.database.write_session() as session:
        office.access.receipts.receive(session, body, evidence, time.time())
    assert office.world.rows("SELECT factor FROM staff_order WHERE actor = 'ada'") == [(FactorKind.HARDWARE_KEY,)]
    assert "was used" in refusal(office, key.enrolment(token))


def test_reset_ends_a_registered_token_until_the_next_link(office: StaffCli, token: str) -> None:
    key = Token(office)
    receive(office, key.enrolment(token))
    newer = office.order("amy", "staff", "reset", "ada").must().json["token"]
    body, evidence = key.order()
    with pytest.raises(RefusedSignatureError, match="ada is invited"), office.world.database.write_session() as session:
        office.access.receipts.receive(session, body, evidence, time.time())
    receive(office, key.enrolment(newer))
    assert office.listed()["ada"] == ("responder", "active")


def test_token_without_its_user_registers_nothing(office: StaffCli, token: str) -> None:
    key = Token(office)
    assert "did not verify its user" in refusal(office, key.enrolment(token, flags=0x01))
    assert "does not match" in refusal(office, key.enrolment(token, flags=0x04)), "it was not touched"
    assert "another secret" in refusal(office, key.enrolment(token, seed=SEED))
    assert "another secret" in refusal(office, key.enrolment(token, kind=FactorKind.TOTP))
    assert "not valid" in refusal(office, key.enrolment("no-token"))


def test_ordinary_key_is_not_registered_as_a_hardware_key(office: StaffCli, token: str) -> None:
    given = office.enrolment("ada", token, text={"seed": "", "kind": FactorKind.HARDWARE_KEY}, seed="", code="")
    assert "did not verify its user" in refusal(office, given)
    words = ("--sign", str(office.keys["ada"].path), "staff", "enroll", "--token", token, "--hardware-key")
    assert "did not verify its user" in office.octy(*words).must(3).stderr


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"handle":"ada"}', b"[" * 4000, b"x" * 5000, b'"\\ud800"', b"\xff"]
)
def test_every_other_form_of_the_text_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidTextError):
        EnrolmentText.from_bytes(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server", None),
        ("installation", "x"),
        ("handle", "a\nb"),
        ("link", "x"),
        ("secret", ""),
        ("issued_at", 1.5),
        ("kind", "passkey"),
    ],
)
def test_text_with_an_invalid_field_is_refused(name: str, value: object) -> None:
    text = EnrolmentText.make(server="", installation="0" * 16, handle="ada", token="t", seed=SEED, now=1.0)
    assert EnrolmentText.from_bytes(text.to_bytes()) == text
    fields = {**json.loads(text.to_bytes()), name: value}
    with pytest.raises(InvalidTextError):
        EnrolmentText.from_bytes(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())
