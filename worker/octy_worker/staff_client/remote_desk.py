"""The desk of a command on a staff member's own machine: it reads and orders at a staff API, within a session."""

import secrets
from collections.abc import Callable
from functools import cached_property
from typing import Any

from octy_middleware.clock import Clock, RandomBytes, uuid7
from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.errors import RefusedError, UnavailableError, WaitsForSignatureError
from octy_worker.staff.json_values import from_json
from octy_worker.staff.operations import Act, F, I, O, Query, Submission
from octy_worker.staff.order_forms import draft, read_stored
from octy_worker.staff.provers import CertifiedSigner
from octy_worker.staff.queries import FIND_ORDER, OrderRef
from octy_worker.staff_api.wire import OrderRequest, OrderResult, PendingLine, ReceivedOrder, query_path
from octy_worker.staff_client.api_client import ApiClient, NoAnswerError
from octy_worker.staff_client.session_file import SavedSession

_MARGIN = 30.0  # seconds that a request may take longer than the act's own timeout

_ONCE = "it is carried out once"
_FOR_AUTHOR = "where it says that the order was used already, what it made is lost: order it again, without --order-id"


def lost_answer(
    act: Act[Any, Any], order_id: str, error: NoAnswerError, *, to_do: str = "repeat the command"
) -> UnavailableError:
    """Return the error of an order that was handed in, with what its author does to get the answer."""
    return UnavailableError(
        f"it is unknown whether the order {order_id} was carried out: {error}",
        f"{to_do} with --order-id {order_id}; {_FOR_AUTHOR if act.for_author else _ONCE}",
    )


class RemoteDesk:
    """Makes and signs orders here; the server receives and carries them out. `prover` is called at the order.

    `given_id`: its id, if any. `by_passkey`: nothing is signed here; it waits at the server for its author's passkey.
    """

    def __init__(
        self,
        client: ApiClient,
        session: SavedSession,
        prover: Callable[[], CertifiedSigner],
        *,
        clock: Clock,
        random_bytes: RandomBytes = secrets.token_bytes,
        given_id: str | None = None,
        by_passkey: bool = False,
    ) -> None:
        self._given_id = given_id
        self._by_passkey = by_passkey
        self._client = client
        self._session = session
        self._find_prover = prover
        self._clock = clock
        self._random_bytes = random_bytes
        self.on_progress: Callable[[Any], None] = lambda _result: None

    @cached_property
    def _prover(self) -> CertifiedSigner:
        return self._find_prover()

    @property
    def actor(self) -> str:
        """Who acts: whose session it is."""
        return self._session.handle

    @cached_property
    def order_id(self) -> str:
        """The id of its order."""
        return self._given_id or uuid7(self._clock())

    def read(self, query: Query[I, O], value: I) -> O:
        """Return what a query found. Raises CommandError."""
        return self._client.post(query_path(query.name), value, query.output)

    def find_order(self) -> Order | None:
        """Return the order that is repeated. See `Desk.find_order`."""
        return read_stored(self.read(FIND_ORDER, OrderRef(self._given_id)).body) if self._given_id else None

    def order(self, act: Act[F, O], subject: str, fields: F, reason: str, *, timeout: float = 20.0) -> O:
        """Make, sign and hand in the order; return what it did. See `Desk.order`."""
        submission = self._prepare(act, subject, fields, reason)
        wanted = OrderRequest(submission, timeout)
        try:
            done = self._client.post("/orders", wanted, OrderResult, timeout=timeout + _MARGIN)
        except NoAnswerError as error:
            raise lost_answer(act, self.order_id, error) from None
        return from_json(act.output, done.output)

    def hand_in(self, act: Act[F, Any], subject: str, fields: F, reason: str) -> str:
        """Have the order received only, and return its id."""
        submission = self._prepare(act, subject, fields, reason)
        try:
            return self._client.post("/orders/receive", OrderRequest(submission), ReceivedOrder).order_id
        except NoAnswerError as error:
            raise lost_answer(act, self.order_id, error) from None

    def _prepare(self, act: Act[F, Any], subject: str, fields: F, reason: str) -> Submission:
        """Return a new order, signed; or the stored one of the given id, proven before. Raises RefusedError."""
        now = self._clock()
        try:
            new = draft(
                act, order_id=self.order_id, installation=self._session.installation, subject=subject, fields=fields,
                reason=reason, actor=self.actor, now=now, random_bytes=self._random_bytes,
            )  # fmt: skip
        except InvalidOrderError as error:
            raise RefusedError(str(error)) from None
        stored = self.find_order()
        if stored is None and self._by_passkey:
            waiting = OrderRequest(Submission(new.order.to_bytes().decode(), private=new.private))
            kept = self._client.post("/orders/pending", waiting, PendingLine)
            raise WaitsForSignatureError(kept.order_id, kept.url)
        if stored is None:
            body = new.order.to_bytes()
            proof = self._prover.prove(body)
            return Submission(body.decode(), proof.signature, proof.code, new.private)
        if new.is_repeated_by(stored):
            return Submission(stored.to_bytes().decode())
        raise RefusedError(f"the id {self.order_id} belongs to another order", "leave the option out to get a new id")
