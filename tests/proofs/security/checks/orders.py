"""What is ordered: the receipt of orders, their use by workflows and commands, two people for one act, break glass."""

from proofs.security.checks.check import Check

_RECEIPTS = "octy_worker/access/receipts.py"
_PROOFS = "octy_worker/access/proofs.py"
_ENDS = "octy_worker/access/order_ends.py"
_MEMBERS = "octy_worker/access/members.py"
_APPROVALS = "octy_worker/access/approvals.py"
_TESTS = "worker/access/test_receipts.py"
_AT_RECEIPT = f"{_TESTS}::test_order_is_refused_at_receipt"
_APPROVAL_TESTS = "worker/access/test_approvals.py"
_FOUR_EYES = "worker/staff/test_four_eyes.py"
_BROKEN = "octy_worker/access/break_glass.py"
_HIDDEN = f"{_FOUR_EYES}::test_break_glass_is_not_hidden_by_sql"

RECEIPT = (
    Check(
        "order for another installation",
        _RECEIPTS,
        "if order.installation != self._installation:",
        "if False:",
        (f"{_AT_RECEIPT}[sqlite-other installation]",),
        "An order that was signed for the test installation is carried out in production.",
    ),
    Check(
        "stale order, and one from the future",
        _RECEIPTS,
        "if not order.is_fresh(now):",
        "if False:",
        (f"{_AT_RECEIPT}[sqlite-stale]", f"{_AT_RECEIPT}[sqlite-from the future]"),
        "A signature that was made and never sent counts for years, with any code of its author.",
    ),
    Check(
        "another order under the id of a received one",
        _RECEIPTS,
        "if row.body.encode() != body:",
        "if False:",
        ("worker/access/test_passkey_orders.py::test_repeated_receipt_needs_no_second_signature[sqlite]",),
        "The sender is told that this order was received, and the older one is meant.",
    ),
    Check(
        "order of somebody else's certificate",
        _PROOFS,
        "        check_principal(signed.certificate, order.actor)\n",
        "",
        (f"{_TESTS}::test_wrong_namespace_text_signer_and_code_are_refused[sqlite]",),
        "A viewer signs in the name of an admin; only the code must be the admin's.",
    ),
    Check(
        "role that is too small",
        _MEMBERS,
        "if not member.role.includes(role):",
        "if False:",
        (f"{_AT_RECEIPT}[sqlite-role too small]", f"{_AT_RECEIPT}[sqlite-viewer]"),
        "Every staff member is an admin.",
    ),
    Check(
        "leak that is reported by a role that may not revoke keys",
        "octy_worker/access/roles.py",
        "return Role.KEY_ADMIN if reports_leak and Role.KEY_ADMIN.includes(needed) else needed",
        "return needed",
        (f"{_AT_RECEIPT}[sqlite-a leak]",),
        "A responder ends a customer's keys at once.",
    ),
    Check(
        "disabled staff member",
        _MEMBERS,
        "if member.state is not StaffState.ACTIVE:",
        "if False:",
        (f"{_TESTS}::test_unknown_and_disabled_staff_are_refused[sqlite]",),
        "Who has left goes on until the certificate ends.",
    ),
    Check(
        "order without any proof",
        _PROOFS,
        'raise RefusedSignatureError("there is no order of this id yet, and a new one needs a proof")',
        "return Proven(BREAK_GLASS)",
        (f"{_TESTS}::test_order_without_a_proof_is_refused[sqlite-nothing]",),
        "Somebody who reaches the receipt orders.",
    ),
    Check(
        "order as where OCTY_STAFF_AUTH is off",
        _PROOFS,
        'raise RefusedSignatureError("an order needs a signature: OCTY_STAFF_AUTH is on")',
        "return Proven(UNPROVEN)",
        (f"{_TESTS}::test_order_without_a_proof_is_refused[sqlite-as where OCTY_STAFF_AUTH is off]",),
        "A command that believes that no proof is asked for has its orders kept; they are refused at their use.",
    ),
    Check(
        "OCTY_STAFF_AUTH=off where another machine is reached",
        "octy_worker/access/staff_settings.py",
        "    if remote:\n",
        "    if False:\n",
        (
            (
                "worker/access/test_staff_settings.py::test_settings_with_which_staff_cannot_be_judged_are_refused"
                "[given4-another machine is named by OCTY_DATABASE]"
            ),
        ),
        "One line in the settings of production switches all of this off.",
    ),
    Check(
        "role granted while OCTY_STAFF_AUTH is off",
        "octy_worker/staff/member_orders.py",
        'if settings.staff_auth == "off":',
        "if False:",
        ("worker/cli/test_cli_staff.py::test_order_that_needs_no_proof_grants_no_role[sqlite]",),
        "An admin that was made while no proof was asked for stays one afterwards.",
    ),
)

USE = (
    Check(
        "forged update and signal: a receipt that was edited",
        _RECEIPTS,
        "if not self.has_right_code(row):",
        "if False:",
        (
            (
                "worker/activities/test_signed_decisions.py"
                "::test_forged_update_and_signal_are_refused_recorded_and_counted[sqlite-a_receipt_edited_by_sql]"
            ),
        ),
        "Access to database and Temporal together decides incidents.",
    ),
    Check(
        "update or signal that brings a decision in place of an order's id",
        "octy_workflows/order_content.py",
        "return order_id if isinstance(order_id, str) and _ID.fullmatch(order_id) else None",
        "return str(order_id)[:64]",
        ("workflows/test_messages.py::test_only_the_id_of_an_order_is_taken_from_a_message[sent0]",),
        "Typed content gets as far as the database, where no order has it as its id.",
    ),
    Check(
        "order about the subject of another workflow, or another act",
        _RECEIPTS,
        "if (row.action, row.subject) != (action, subject):",
        "if False:",
        (f"{_TESTS}::test_order_is_refused_for_another_subject_or_action[sqlite]",),
        "Who reaches Temporal moves a colleague's order to another customer's incident.",
    ),
    Check(
        "columns that differ from what was signed",
        _RECEIPTS,
        "if (order.order_id, order.action, order.subject, order.actor) != "
        "(row.id, row.action, row.subject, row.actor):",
        "if False:",
        (
            (
                "worker/activities/test_workflow_messages.py"
                "::test_staff_order_changed_by_sql_to_something_invalid_is_refused[sqlite-column]"
            ),
        ),
        "Nothing where rows have codes; with OCTY_STAFF_AUTH=off a row says another author than its order.",
    ),
    Check(
        "order that waits, or was refused",
        _RECEIPTS,
        "if marked.rowcount != 1 and not (row.state == OrderState.USED and row.used_by == by):",
        "if False:",
        (f"{_TESTS}::test_row_changed_by_sql_grants_nothing[sqlite-UPDATE staff_order SET state = 'refused']",),
        "What was refused, or waits for a second person, is carried out.",
    ),
    Check(
        "used order (the conditional update)",
        _RECEIPTS,
        ".where(col(StaffOrder.id) == order_id, col(StaffOrder.state) == OrderState.RECEIVED)",
        ".where(col(StaffOrder.id) == order_id)",
        (f"{_TESTS}::test_row_changed_by_sql_grants_nothing[sqlite-UPDATE staff_order SET state = 'refused']",),
        "What was refused is carried out; of two uses at the same time only the next check refuses one.",
    ),
    Check(
        "used order whose state was set back by SQL",
        _ENDS,
        'if action == USED and said != {"by": by}:',
        "if False:",
        (f"{_TESTS}::test_order_set_back_to_unused_by_sql_is_refused[sqlite]",),
        "One real order is carried out again and again.",
    ),
    Check(
        "refused order whose state was set back by SQL",
        _ENDS,
        'if action == REFUSED and (said is None or "received" in said):',
        "if False:",
        (f"{_FOUR_EYES}::test_refused_order_whose_state_is_set_back_by_sql_is_not_used[sqlite]",),
        "What came too late, or was against a rule, is carried out later.",
    ),
    Check(
        "output that SQL gives to an order that was not used",
        _RECEIPTS,
        'if row is None or not row.output or end_of(session, order_id, "") is not OrderState.USED:',
        "if row is None or not row.output:",
        (f"{_TESTS}::test_output_of_a_used_order_is_kept_for_its_repeat[sqlite]",),
        "A command says that a key pair is revoked, and nothing was done.",
    ),
    Check(
        "order that was received more than a day ago",
        _RECEIPTS,
        "if row.state == OrderState.RECEIVED and now - since > ORDER_TTL:",
        "if False:",
        (f"{_TESTS}::test_received_order_can_be_used_for_a_day[sqlite]",),
        "Somebody who reaches Temporal keeps orders back until they do harm.",
    ),
    Check(
        "author who has lost the role since the receipt",
        _RECEIPTS,
        "with _not_allowed():\n                self._proofs.require_active(",
        "with _not_allowed():\n                _ = (",
        (
            f"{_TESTS}::test_what_changed_since_the_receipt_counts_at_the_use[sqlite]",
            "worker/access/test_passkey_orders.py::test_what_changed_since_the_receipt_counts_at_the_use[sqlite]",
        ),
        "Orders of somebody who was just disabled are still carried out.",
    ),
    Check(
        "certificate that was revoked since the receipt",
        _PROOFS,
        "        if row.certificate:\n"
        "            self._verify_signature(order, body, row.signature, row.received_at.timestamp())\n",
        "        if row.certificate:\n            pass\n",
        (f"{_TESTS}::test_what_changed_since_the_receipt_counts_at_the_use[sqlite]",),
        "Orders of a stolen key that wait are carried out, though it was revoked.",
    ),
    Check(
        "passkey that was removed since the receipt",
        _PROOFS,
        "            self._passkeys.verify_again(session, member, order, row.factor, row.signature)",
        "            pass",
        (
            (
                "worker/access/test_passkey_orders.py::test_row_changed_by_sql_is_refused_at_the_use"
                "[sqlite-DELETE FROM staff_factor]"
            ),
        ),
        "Orders of a stolen passkey that wait are carried out, though it was removed.",
    ),
)

PEOPLE = (
    Check(
        "four eyes: the order waits",
        _RECEIPTS,
        "waits = order.action in self._four_eyes and proven.factor != BREAK_GLASS",
        "waits = False",
        (f"{_APPROVAL_TESTS}::test_order_waits_for_a_second_person[sqlite]",),
        "Nothing: the next check refuses it at its use. It can't be approved either.",
    ),
    Check(
        "four eyes: state set to received by SQL",
        _RECEIPTS,
        "return self.approvals.require(session, order)",
        "pass",
        (f"{_FOUR_EYES}::test_unapproved_order_set_to_received_by_sql_is_refused[sqlite]",),
        "One staff member with access to the database needs no second one.",
    ),
    Check(
        "four eyes: one's own approval",
        _APPROVALS,
        "if approval.actor == order.actor:",
        "if False:",
        (f"{_APPROVAL_TESTS}::test_approval_is_refused[sqlite-by its author]",),
        "One pair of eyes is enough.",
    ),
    Check(
        "four eyes: approval by a role that is too small",
        _APPROVALS,
        "        self._require_active(session, approval.actor, required_role(order.action, order.fields))\n",
        "",
        (f"{_APPROVAL_TESTS}::test_approval_is_refused[sqlite-by a smaller role]",),
        "A key admin and any responder together do what takes two key admins.",
    ),
    Check(
        "four eyes: approval of another content",
        _APPROVALS,
        'if approval.fields.get("digest") != order.digest():',
        "if False:",
        (f"{_APPROVAL_TESTS}::test_approval_is_refused[sqlite-of another content]",),
        "Somebody is shown one order and approves another.",
    ),
    Check(
        "four eyes: order that has waited for more than 24 hours",
        _APPROVALS,
        "if now - row.received_at.timestamp() > ORDER_TTL:",
        "if False:",
        (f"{_APPROVAL_TESTS}::test_approval_is_refused[sqlite-after a day]",),
        "Forgotten orders can be carried out months later.",
    ),
    Check(
        "four eyes: approval that was never received",
        _APPROVALS,
        '    if row is None:\n        raise RefusedSignatureError("the approval was not received")',
        "    if row is None:\n        return",
        (f"{_APPROVAL_TESTS}::test_approval_is_refused[sqlite-that was never received]",),
        "Nothing while commands have approvals received first; a caller that does not would need no proof.",
    ),
    Check(
        "four eyes: break glass as second person",
        _APPROVALS,
        "if row.factor == BREAK_GLASS:",
        "if False:",
        (f"{_APPROVAL_TESTS}::test_approval_is_refused[sqlite-by break glass]",),
        "The operator of the host is both people.",
    ),
    Check(
        "two approvals at the same time",
        _APPROVALS,
        ".where(col(StaffOrder.id) == row.id, col(StaffOrder.state) == OrderState.WAITING)",
        ".where(col(StaffOrder.id) == row.id)",
        (
            f"{_FOUR_EYES}::test_concurrent_approvals_approve_once_and_other_digests_and_late_ones_nothing[sqlite]",
            f"{_APPROVAL_TESTS}::test_approval_is_refused[sqlite-of a used order]",
        ),
        "A used order is set back to received by a further approval.",
    ),
    Check(
        "break glass that was written by SQL",
        _RECEIPTS,
        "if not self.has_right_code(row):",
        "if False:",
        (
            (
                "worker/access/test_passkey_orders.py::test_row_changed_by_sql_is_refused_at_the_use"
                "[sqlite-UPDATE staff_order SET factor = 'break-glass']"
            ),
        ),
        "Access to the database is enough to order everything, as an emergency that was never declared.",
    ),
    Check(
        "break glass of which no admin is told",
        "octy_worker/staff/local_desk.py",
        "if isinstance(proof, BreakGlass):",
        "if False:",
        (f"{_FOUR_EYES}::test_admins_are_told_of_break_glass_also_where_the_order_is_only_received[sqlite]",),
        "The operator of the host acts alone; it is seen by who looks into log, digest or `octy doctor`.",
    ),
    Check(
        "break glass acknowledged by break glass",
        _BROKEN,
        ".where(StaffOrder.state == OrderState.USED, StaffOrder.factor != BREAK_GLASS)",
        ".where(StaffOrder.state == OrderState.USED)",
        (f"{_FOUR_EYES}::test_break_glass_is_open_until_an_admin_acknowledges_it_by_a_signed_order[sqlite]",),
        "The operator who acted alone also ends the notice about it.",
    ),
    Check(
        "break glass whose order was deleted by SQL",
        _BROKEN,
        "found = {one.order_id: one for one in _logged(session, has_right_code)}",
        "found: dict[str, BrokenGlass] = {}",
        (f"{_HIDDEN}[sqlite-the order is deleted]", f"{_HIDDEN}[sqlite-its factor is changed]"),
        "One DELETE ends the notice.",
    ),
    Check(
        "acknowledgement that was written by SQL",
        _BROKEN,
        " for row in session.exec(query) if has_right_code(row)}",
        " for row in session.exec(query)}",
        (f"{_HIDDEN}[sqlite-an acknowledgement is written, and an entry of its use]",),
        "One INSERT, and an entry that anybody can compute, end the notice.",
    ),
    Check(
        "acknowledgement that was never used",
        _BROKEN,
        "        .where(used.exists())  # the code does not cover the state\n",
        "",
        (
            (
                f"{_FOUR_EYES}"
                "::test_hidden_break_glass_is_acknowledged_too_and_an_unused_acknowledgement_does_not_count[sqlite]"
            ),
        ),
        "An acknowledgement that was refused ends the notice, if its state is changed by SQL.",
    ),
)
