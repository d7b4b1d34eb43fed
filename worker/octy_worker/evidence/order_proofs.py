"""Verifies the orders of a pack, as they were judged at their receipt: signature, certificate, second factor, role.

Second factors and roles are those of the audit log (`grants`).
A one-time password can't be verified again; the log says that it was accepted, and who registered its seed.
"""

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.order_states import BREAK_GLASS, RECEIVED, USED
from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.access.passkey_orders import challenge_of
from octy_worker.access.proofs import UNPROVEN
from octy_worker.access.roles import Action, required_role
from octy_worker.audit import chain
from octy_worker.audit.chain import Entry, Erasure
from octy_worker.crypto.ssh_certificates import (
    CertificateAuthorities,
    RefusedSignatureError,
    check_principal,
    check_source,
)
from octy_worker.crypto.ssh_signatures import verify_signature
from octy_worker.evidence.grants import Grants, detail_of

ERASED = "erased"
"""In place of a proof: what was signed was erased with an account; only the log has the order."""
_MICROSECOND = 1e-6


@dataclass(frozen=True, slots=True)
class OrderResult:
    """A verified order. `proof`: certificate, passkey, break-glass, none, erased. `serial`: 0 without a certificate."""

    id: str
    action: str
    subject: str
    actor: str
    proof: str
    serial: int
    factor: str
    approved_by: str = ""  # a second person


class OrderVerifier:
    """Verifies the orders of one pack. All errors are RefusedSignatureError.

    `entries`: of the whole verified chain. `authorities`: the trusted ones, with their rules.
    """

    def __init__(
        self,
        installation: str,
        entries: Iterable[Entry],
        orders: Iterable[Mapping[str, Any]],
        authorities: CertificateAuthorities,
    ) -> None:
        self._installation = installation
        self._authorities = authorities
        self._orders = {order["id"]: order for order in orders}
        known = [entry for entry in entries if entry.action in {RECEIVED, USED, chain.ERASED, *Grants.ACTIONS}]
        self._received = {entry.order_id: entry for entry in known if entry.action == RECEIVED}
        self._used = {entry.order_id: entry.seq for entry in known if entry.action == USED}
        self._erasures = [entry for entry in known if entry.action == chain.ERASED]
        self._grants = Grants(known, self._orders, self._used)

    def verify_all(self) -> Iterator[OrderResult]:
        """Yield the results, in the order of receipt."""
        for record in self._orders.values():
            try:
                yield self._verify(record)
            except (RefusedSignatureError, InvalidOrderError) as error:
                raise RefusedSignatureError(f"order {record['id'][:40]}: {error}") from None
            except (KeyError, TypeError, ValueError):  # details that this system does not write
                raise RefusedSignatureError(f"order {record['id'][:40]}: what it rests on is malformed") from None

    def _verify(self, record: Mapping[str, Any]) -> OrderResult:
        whole = self._orders.get(record["part_of"]) if record["part_of"] else record
        if whole is None or whole["part_of"]:
            raise RefusedSignatureError("the order that it is a part of is missing")
        if not whole["body"]:
            self._check_erased(whole)
            return OrderResult(
                record["id"], record["action"], record["subject"], record["actor"], ERASED, 0, record["factor"]
            )
        order = Order.from_bytes(whole["body"].encode())
        if order.installation != self._installation:
            raise RefusedSignatureError("it is for another installation")
        received = self._receipt(whole, order)
        proof, serial = self._verify_proof(whole, order, received)
        if whole is not record:
            order = order.part(record["subject"])
        approved_by = self._approver_of(order)
        about = (order.order_id, order.action, order.subject, order.actor)
        if about != (record["id"], record["action"], record["subject"], record["actor"]):
            raise RefusedSignatureError("what was signed is about something else")
        return OrderResult(
            order.order_id, str(order.action), order.subject, order.actor, proof, serial, record["factor"], approved_by
        )

    def _approver_of(self, order: Order) -> str:
        """Return who has approved an order; each approval is an order of the pack, and is verified as one.

        It counts if it was used, by somebody else who had the role for the approved order, and has a proof.
        """
        for record in self._orders.values():
            if (record["action"], record["subject"]) != (Action.APPROVE, order.order_id) or not record["body"]:
                continue
            approval = Order.from_bytes(record["body"].encode())
            if approval.fields.get("digest") != order.digest() or approval.actor == order.actor:
                continue
            if approval.order_id not in self._used or record["factor"] in {BREAK_GLASS, UNPROVEN}:
                continue
            needed = required_role(order.action, order.fields)
            if self._grants.has_role(approval.actor, needed, self._receipt(record, approval)):
                return approval.actor
        return ""

    def _receipt(self, record: Mapping[str, Any], order: Order) -> Entry:
        """Return the entry of its receipt, which says when it was received."""
        entry = self._receipt_of(order.order_id, order.actor, order.subject, record["received_at"])
        if entry.detail is not None and detail_of(entry)["factor"] != record["factor"]:
            raise RefusedSignatureError("it was received with another factor")
        return entry

    def _receipt_of(self, order_id: str, actor: str, subject: str, at: int) -> Entry:
        entry = self._received.get(order_id)
        if entry is None:
            raise RefusedSignatureError("the audit log has no receipt of it")
        if (entry.at, entry.actor, entry.subject) != (at, actor, subject):
            raise RefusedSignatureError("the audit log has another receipt of it")
        return entry

    def _check_erased(self, record: Mapping[str, Any]) -> None:
        """Check that an erasure after the receipt of an order names it; else somebody has emptied it."""
        received = self._receipt_of(record["id"], record["actor"], record["subject"], record["received_at"])
        later = [entry for entry in self._erasures if entry.seq > received.seq]
        if not any(record["id"] in Erasure.of(entry).orders for entry in later):
            raise RefusedSignatureError("what was signed is missing, and no entry of an erasure names it")

    def _verify_proof(self, record: Mapping[str, Any], order: Order, received: Entry) -> tuple[str, int]:
        factor = record["factor"]
        if factor in {BREAK_GLASS, UNPROVEN}:
            return factor, 0
        body = record["body"].encode()
        self._check_role(order, received)
        if not record["certificate"]:
            self._verify_passkey(order, record, received)
            return "passkey", 0
        at = received.at * _MICROSECOND
        signed = verify_signature(
            record["signature"], body, namespace=order.namespace, authorities=self._authorities, now=at
        )
        check_principal(signed.certificate, order.actor)
        check_source(signed.certificate, record["source"] or None)
        if factor == FactorKind.HARDWARE_KEY:
            if not signed.user_verified:
                raise RefusedSignatureError("its key did not verify its user")
        else:
            self._grants.factor(order.actor, factor, received)
        return "certificate", signed.certificate.serial

    def _check_role(self, order: Order, received: Entry) -> None:
        """Check that the author had the role at the receipt, by a grant that leads back to the bootstrap."""
        if not self._grants.has_role(order.actor, required_role(order.action, order.fields), received):
            raise RefusedSignatureError(f"{order.actor} did not have the role for it")

    def _verify_passkey(self, order: Order, record: Mapping[str, Any], received: Entry) -> None:
        # Takes 0.2 s, and the extra `staff` has no WebAuthn; only orders that a passkey signed need it.
        from octy_worker.access.passkeys import Passkey, RelyingParty, verify_assertion  # noqa: PLC0415

        entry, detail = self._grants.factor(order.actor, record["factor"], received)
        passkey = Passkey(b64decode(detail["credential_id"]), b64decode(detail["public_key"]))
        party = RelyingParty(detail["party"], _origin_of(record["signature"], detail["party"]), "")
        verify_assertion(party, passkey, record["signature"], challenge=challenge_of(order), user_id=entry.subject)


def _origin_of(assertion: str, party: str) -> str:
    """Return the origin that the browser has signed, which must be the relying party's host."""
    try:
        response = json.loads(assertion)["response"]
        data = response["clientDataJSON"]
        client = json.loads(b64decode(data + "=" * (-len(data) % 4), altchars=b"-_"))
        origin = str(client["origin"])
        host = urlsplit(origin).hostname
    except (ValueError, KeyError, TypeError):
        raise RefusedSignatureError("the passkey's signature is malformed") from None
    if host != party:
        raise RefusedSignatureError("the passkey's signature was made on another site")
    return origin
