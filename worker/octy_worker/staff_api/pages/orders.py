"""The pages of a signed-in person: orders that wait for a signature, one order in words, and what its signature did.

A passkey signs the order's digest as WebAuthn challenge. A one-time password signs nothing.
"""

from markupsafe import Markup, escape
from sqlmodel import Session
from starlette.responses import Response

from octy_middleware.clock import utc
from octy_middleware.errors import OctyError
from octy_worker import sanitize
from octy_worker.access.orders import MAX_BYTES, InvalidOrderError, Order
from octy_worker.access.passkey_orders import PasskeyEvidence
from octy_worker.access.passkeys import Passkey
from octy_worker.access.pending_orders import PendingOrder
from octy_worker.access.roles import Action
from octy_worker.errors import CommandError, WaitsForApprovalError
from octy_worker.staff.acts import ACTS
from octy_worker.staff.json_values import to_json
from octy_worker.staff.operations import Submission
from octy_worker.staff.order_forms import read_private
from octy_worker.staff.order_words import approved_facts, order_facts, sentence, value_text
from octy_worker.staff.orders import carry_out, receive
from octy_worker.staff.queries import FIND_ORDER, OrderRef
from octy_worker.staff_api.attempts import judge_proof
from octy_worker.staff_api.login_limits import TooManyLoginsError
from octy_worker.staff_api.pages.access import PageTools, Visit, redirect, refuse
from octy_worker.staff_api.pages.login import TOO_MANY, options_text


class OrderPages:
    """Shows pending orders and takes their signatures."""

    def __init__(self, tools: PageTools) -> None:
        self._tools = tools

    def home(self, visit: Visit) -> Response:
        """List the orders that wait for this person."""
        tools, mine = self._tools, visit.signed_in
        with tools.office.database.read_session() as session:
            pending = tools.office.pending.of(session, mine.handle, tools.office.clock())
            passkeys = self._passkeys(session, visit)
        listed = [
            {"order": each.order, "words": sentence(each.order), "until": utc(each.expires_at)} for each in pending
        ]
        return self._page("staff_home.html", visit, pending=listed, passkeys=len(passkeys), expires_at=mine.expires_at)

    def order(self, visit: Visit) -> Response:
        """Show one order, or take its signature and carry it out."""
        office, handle = self._tools.office, visit.signed_in.handle
        with office.database.read_session() as session:
            found = office.pending.find(session, visit.path["order_id"], actor=handle, now=office.clock())
        if found is None:
            text = "It was signed or discarded, or five minutes are over: then make it again."
            return refuse(self._tools, "This order can't be signed", text, visit.source, 404)
        return self._show(visit, found) if visit.form is None else self._sign(visit, found)

    def discard(self, visit: Visit) -> Response:
        """Remove an order that its author doesn't want."""
        self._remove(visit, visit.path["order_id"])
        return redirect(self._tools, "/")

    def _sign(self, visit: Visit, found: PendingOrder) -> Response:
        assert visit.form is not None
        order, act = found.order, ACTS[found.order.action]
        submission = Submission(found.body.decode(), private=read_private(found.private))
        proof = PasskeyEvidence(visit.form.get("answer", ""), visit.source)
        office = self._tools.office
        context = office.context()
        try:
            receipt = judge_proof(office, order.actor, visit.source, lambda: receive(context, act, submission, proof))
            output = to_json(act.output, carry_out(context, act, receipt))
        except TooManyLoginsError:
            return self._show(visit, found, TOO_MANY, 429)
        except WaitsForApprovalError as error:
            self._remove(visit, order.order_id)
            return self._result(
                visit, found, title="Waits for a second person", badge="waiting", explanation=f"{error}"
            )
        except (CommandError, OctyError) as error:
            return self._show(visit, found, f"{error}"[:1].upper() + f"{error}"[1:], 403)
        self._remove(visit, order.order_id)
        return self._result(visit, found, title="Done", badge="done", output=output)

    def _remove(self, visit: Visit, order_id: str) -> None:
        office = self._tools.office
        with office.database.write_session() as session:
            office.pending.remove(session, order_id, actor=visit.signed_in.handle)

    def _show(self, visit: Visit, found: PendingOrder, problem: str = "", status: int = 200) -> Response:
        tools, private = self._tools, read_private(found.private)
        with tools.office.database.read_session() as session:
            passkeys = self._passkeys(session, visit)
        try:
            approved = self._approved(found.order)
        except InvalidOrderError as error:
            return refuse(tools, "This order can't be signed", f"{error}.", visit.source, 409)
        return self._page(
            "staff_order.html", visit, status,
            words=sentence(found.order), order=found.order, problem=problem, until=utc(found.expires_at),
            facts=[*order_facts(found.order, {name: value for name, (_, value) in private.items()}), *approved],
            options=options_text(tools, bytes.fromhex(found.order.digest()), passkeys),
            body=_whole(found.body.decode()),
        )  # fmt: skip

    def _approved(self, order: Order) -> list[tuple[str, str]]:
        """Return what an approval is about, in full. Raises InvalidOrderError."""
        if order.action is not Action.APPROVE:
            return []
        return approved_facts(order, FIND_ORDER.run(self._tools.office.context(), OrderRef(order.subject)).body)

    def _result(
        self, visit: Visit, found: PendingOrder, *, title: str, badge: str, output: object = None, explanation: str = ""
    ) -> Response:
        shown = output if isinstance(output, dict) else {}
        facts = [(name.replace("_", " ").capitalize(), value_text(value)) for name, value in shown.items()]
        return self._page(
            "staff_result.html", visit, title=title, badge=badge, words=sentence(found.order),
            explanation=explanation, facts=facts or [("Order", found.order.order_id)],
        )  # fmt: skip

    def _page(self, template: str, visit: Visit, status: int = 200, **values: object) -> Response:
        mine = visit.signed_in
        return self._tools.renderer.page(
            template, status, handle=mine.handle, role=str(mine.role), csrf_token=visit.csrf_token, **values
        )

    def _passkeys(self, session: Session, visit: Visit) -> list[Passkey]:
        member = self._tools.office.staff.members.require(session, visit.signed_in.handle)
        return list(self._tools.passkeys.of(session, member.id).values())


def _whole(body: str) -> Markup:
    """Return the exact order, with every character that can't be seen replaced."""
    return escape(sanitize.for_page(body, MAX_BYTES))
