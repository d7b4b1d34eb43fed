"""What staff orders of a workflow: updates and signals carry an order's id, and SQL holds what was ordered.

Here: from a message to the order that its row holds. Not here: whether it comes too late (`question`, `deadlines`,
`letters`), and how the row is checked (`octy_worker.domain.staff_requests`).
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.hearing import ORDER, refusal
    from octy_workflows.messages import Action, OrderUse, UsedOrder, WorkflowKind
    from octy_workflows.policies import PATIENTLY
    from octy_workflows.staff import StaffDecision, StaffExtension, StaffRequest, StaffResend, read_request

_FORMS: dict[Action, tuple[type[StaffDecision] | type[StaffExtension] | type[StaffResend], str]] = {
    Action.DECIDE: (StaffDecision, "a decision"),
    Action.EXTEND: (StaffExtension, "an extension"),
    Action.RESEND: (StaffResend, "an order to send again"),
    Action.RESEND_KEYS: (StaffResend, "an order to send again"),
}


class Orders:
    """The orders of one workflow's subject that were used."""

    def __init__(self, kind: WorkflowKind, subject_id: str) -> None:
        self._kind = kind
        self._subject_id = subject_id
        self.used: dict[str, StaffRequest] = {}  # by order id

    async def use(self, order_id: str, action: Action, why: str = "") -> StaffRequest:
        """Return what the order says; raise a refusal, which is noted and counted already.

        The activity runs whatever was sent, also where no id could be read (`why` says what ails it): a replay whose
        keys decrypt less or more asks for the same.
        """
        form, noun = _FORMS[action]
        use = OrderUse(order_id, self._kind, self._subject_id, action, form.refused_as, why, workflow.time())
        found: UsedOrder = await workflow.execute_activity(
            activities.use_order, use, **PATIENTLY, summary=f"order to {action}"
        )
        request = found.refused or read_request(form, noun, found.request)
        if isinstance(request, str):
            raise refusal(request, ORDER)
        self.used[request.id] = request
        return request
