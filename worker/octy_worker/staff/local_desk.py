"""The desk of a command on the installation's host: it has the database, and Temporal where an act needs it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, BinaryIO

from octy_middleware.clock import uuid7
from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.access.proofs import BreakGlass, Proof
from octy_worker.errors import RefusedError
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import Act, F, I, O, Query, RefusedOrder, Submission
from octy_worker.staff.order_forms import draft, read_stored
from octy_worker.staff.orders import perform, receive
from octy_worker.staff.provers import Prover
from octy_worker.staff.queries import FIND_ORDER, OrderRef


class LocalDesk:
    """Carries out queries and acts in this process. `prover` is called at the order, `given_id` is its id if any."""

    def __init__(self, context: StaffContext, prover: Callable[[], Prover], given_id: str | None = None) -> None:
        self._context = context
        self._find_prover = prover
        self._given_id = given_id
        self.on_progress: Callable[[Any], None] = lambda _result: None

    @cached_property
    def _prover(self) -> Prover:
        return self._find_prover()

    def attach(self, file: BinaryIO) -> None:
        """Let the next act read this file, so that its content need not travel with the order."""
        self._context.attachment = file

    @property
    def actor(self) -> str:
        """Who acts."""
        return self._prover.actor

    @cached_property
    def order_id(self) -> str:
        """The id of its order."""
        return self._given_id or uuid7(self._context.clock())

    def read(self, query: Query[I, O], value: I) -> O:
        """Return what a query found. Raises CommandError or OctyError."""
        self._context.on_progress = self.on_progress
        return query.run(self._context, value)

    def find_order(self) -> Order | None:
        """Return the order that is repeated. See `Desk.find_order`."""
        return read_stored(self.read(FIND_ORDER, OrderRef(self._given_id)).body) if self._given_id else None

    def order(self, act: Act[F, O], subject: str, fields: F, reason: str, *, timeout: float = 20.0) -> O:
        """Make, prove and carry out an order; return what it did. See `Desk.order`."""
        self._context.timeout = timeout
        self._context.on_progress = self.on_progress
        submission, proof = self._prepare(act, subject, fields, reason)
        try:
            return perform(self._context, act, submission, proof)
        finally:
            self._tell_admins(submission, proof)  # also where the act was refused

    def hand_in(self, act: Act[F, Any], subject: str, fields: F, reason: str) -> str:
        """Have the order received only, and return its id."""
        submission, proof = self._prepare(act, subject, fields, reason)
        try:
            received = receive(self._context, act, submission, proof).order
        finally:
            self._tell_admins(submission, proof)
        facts = {"order": received.order_id, "action": str(act.action), "subject": subject, "reason": reason}
        record("order_written", self.actor, **facts)
        return received.order_id

    def _tell_admins(self, submission: Submission, proof: Proof | None) -> None:
        if isinstance(proof, BreakGlass):
            from octy_worker.staff.break_glass import tell_admins  # noqa: PLC0415  # it loads what makes mails

            tell_admins(self._context, Order.from_bytes(submission.body.encode()))

    def _prepare(self, act: Act[F, Any], subject: str, fields: F, reason: str) -> tuple[Submission, Proof | None]:
        """Return a new order with its proof; or the stored one of this id, which was proven before."""
        context = self._context
        order_id = self.order_id
        try:
            new = draft(
                act, order_id=order_id, installation=context.installation, subject=subject, fields=fields,
                reason=reason, actor=self.actor, now=context.clock(), random_bytes=context.random_bytes,
            )  # fmt: skip
        except InvalidOrderError as error:
            act.refused(context, RefusedOrder("", subject, self.actor, reason, fields, str(error)))
            raise RefusedError(str(error)) from None
        stored = self.find_order()
        if stored is None:
            body = new.order.to_bytes()
            return Submission(body.decode(), private=new.private), self._prover.prove(body)
        if new.is_repeated_by(stored):
            return Submission(stored.to_bytes().decode()), None
        why = f"the id {order_id} belongs to another order → leave the option out to get a new id"
        act.refused(context, RefusedOrder("", subject, self.actor, reason, fields, why))
        raise RefusedError(why)
