"""What people held at some time, by the audit log of a pack: roles and second factors.

Each grant is an entry that names the order that did it, which is in the pack too and is verified as all orders are; the
first admin's leads back to the bootstrap. A grant counts only if its order says the same: who, and which role or state.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from octy_worker.access.factor_rows import ADDED, REMOVED
from octy_worker.access.members import GRANTED, StaffState
from octy_worker.access.orders import Order
from octy_worker.access.proofs import UNPROVEN
from octy_worker.access.roles import Action, Role
from octy_worker.audit.chain import Entry
from octy_worker.crypto.ssh_certificates import RefusedSignatureError


@dataclass(frozen=True, slots=True)
class _Held:
    """What a person holds after a grant. `role`: None before the first one."""

    role: Role | None
    state: StaffState


class Grants:
    """Grants of one pack. All errors are RefusedSignatureError.

    `entries`: of the whole verified chain. `orders`: of the pack, by id. `used`: by an order's id the number of the
    entry of its use.
    """

    ACTIONS: ClassVar = frozenset({GRANTED, ADDED, REMOVED})
    """The actions of the entries that it reads."""

    def __init__(
        self, entries: Iterable[Entry], orders: Mapping[str, Mapping[str, Any]], used: Mapping[str, int]
    ) -> None:
        self._entries = [entry for entry in entries if entry.action in self.ACTIONS]
        self._orders = orders
        self._used = used

    def has_role(self, person: str, needed: Role, received: Entry) -> bool:
        """Return whether a person had a role at a receipt. Raises where no grant leads back to the bootstrap."""
        granted = [entry for entry in self._before(received, GRANTED) if entry.subject == person]
        if not granted:
            raise RefusedSignatureError(f"nothing has granted {person} a role")
        if _is_written_back([entry.order_id for entry in granted]):
            raise RefusedSignatureError(f"an earlier grant of {person} was written back")
        held = _Held(None, StaffState.DISABLED)
        for entry in granted:
            held = self._check_role_grant(entry, held)
        return held.role is not None and held.role.includes(needed) and held.state is not StaffState.DISABLED

    def factor(self, person: str, factor: str, received: Entry) -> tuple[Entry, dict[str, str]]:
        """Return what registered a second factor of a person."""
        removed = {entry.subject for entry in self._before(received, REMOVED)}
        for entry in self._before(received, ADDED):
            if entry.actor == person and factor not in removed:
                detail = detail_of(entry)
                if detail["factor"] == factor:
                    self._check_factor_grant(entry)
                    return entry, detail
        raise RefusedSignatureError(f"its second factor was not registered by {person}")

    def _check_role_grant(self, entry: Entry, before: _Held) -> _Held:
        """Return role and state after a grant. They must be what its order says, or those of the bootstrap."""
        detail = detail_of(entry)
        granted = _Held(Role(detail["role"]), StaffState(detail["state"]))
        order = self._granting_order(entry, entry.subject)
        if order is None:
            right = granted.role is Role.ADMIN
        elif order.action is Action.ADD_STAFF:
            right = granted == _Held(Role(str(order.fields["role"])), StaffState.INVITED)
        elif order.action is Action.CHANGE_ROLE:
            # The log has no entry of the first factor, with which an invited person becomes active.
            became = {before.state, StaffState.ACTIVE} if before.state is StaffState.INVITED else {before.state}
            right = granted.role is Role(str(order.fields["role"])) and granted.state in became
        elif order.action is Action.DISABLE_STAFF:
            # The role of a row that SQL had changed is not believed: `Members.disable_forged` grants the lowest.
            right = granted.state is StaffState.DISABLED and granted.role in {before.role, Role.VIEWER}
        else:
            right = order.action is Action.RESET_FACTOR and granted == _Held(before.role, StaffState.INVITED)
        if not right:
            raise RefusedSignatureError(f"entry {entry.seq} grants {entry.subject} something else than its order does")
        return granted

    def _check_factor_grant(self, entry: Entry) -> None:
        """Check that the order behind a factor has invited this person to register one."""
        order = self._granting_order(entry, entry.actor)
        if order is not None and order.action not in {Action.ADD_STAFF, Action.RESET_FACTOR}:
            raise RefusedSignatureError(f"the order that granted {entry.actor} a factor is about something else")

    def _granting_order(self, entry: Entry, person: str) -> Order | None:
        """Return the used order of the pack behind a grant; None for the bootstrap, of the first admin.

        The order itself is verified as each of the pack is. No order without a proof grants anything, but break glass.
        """
        if not entry.order_id:
            if person != self._bootstrapped:
                raise RefusedSignatureError(f"{person} was granted a role or factor without an order")
            return None
        record = self._orders.get(entry.order_id)
        if record is None or not record["body"] or record["factor"] == UNPROVEN:
            raise RefusedSignatureError(f"the order that granted {person} a role or factor is missing")
        order = Order.from_bytes(record["body"].encode())
        if order.subject != person or not order.action.startswith("staff."):
            raise RefusedSignatureError(f"the order that granted {person} a role or factor is about something else")
        if self._used.get(entry.order_id, entry.seq) >= entry.seq:
            raise RefusedSignatureError(f"the order that granted {person} a role or factor was not used before")
        return order

    @property
    def _bootstrapped(self) -> str:
        """The handle of the first admin."""
        return next((entry.subject for entry in self._entries if entry.action == GRANTED), "")

    def _before(self, received: Entry, action: str) -> list[Entry]:
        return [entry for entry in self._entries if entry.action == action and entry.seq < received.seq]


def _is_written_back(orders: list[str]) -> bool:
    """Return whether one of these grants stands in the log again: an order grants once, the bootstrap before any."""
    first = next((place for place, order_id in enumerate(orders) if order_id), len(orders))
    later = orders[first:]
    return "" in later or len(set(later)) < len(later)


def detail_of(entry: Entry) -> dict[str, str]:
    """Return the detail of an entry. Raises RefusedSignatureError where there is none."""
    if entry.detail is None:
        raise RefusedSignatureError(f"the detail of entry {entry.seq} was erased or left out")
    detail: dict[str, str] = json.loads(entry.detail)
    return detail
