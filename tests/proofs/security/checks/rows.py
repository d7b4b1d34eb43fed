"""Rows that somebody writes by SQL, or writes back; and how a first admin and second factors come to be."""

from proofs.security.checks.check import Check

_ACCESS = "octy_worker/access"
_MEMBER_TESTS = "worker/access/test_members.py"
_LOGIN_TESTS = "worker/access/test_browser_logins.py"
_ENROLMENT_TESTS = "worker/access/test_factor_enrolment.py"
_CLI_TESTS = "worker/cli/test_cli_staff.py"
_WRONG = f"{_ENROLMENT_TESTS}::test_enrolment_with_one_thing_wrong_is_refused"
_BY_SQL = "worker/access/test_receipts.py::test_row_changed_by_sql_grants_nothing"

ROWS = (
    Check(
        "code (MAC) of an order's receipt",
        f"{_ACCESS}/receipts.py",
        "if not self.has_right_code(row):",
        "if False:",
        (
            f"{_BY_SQL}[sqlite-UPDATE staff_order SET factor = 'hardware-key']",
            f"{_BY_SQL}[sqlite-UPDATE staff_order SET mac = '']",
            "worker/access/test_receipts.py::test_row_copied_under_another_id_is_refused[sqlite]",
        ),
        "SQL inserts orders: a stolen key's signature without a second factor is enough.",
    ),
    Check(
        "code of a staff member's row (role, state)",
        f"{_ACCESS}/members.py",
        'if not self._macs.is_right(row.mac, "staff", _granted(row)):',
        "if False:",
        (
            (
                f"{_MEMBER_TESTS}::test_staff_row_written_by_sql_grants_nothing"
                "[sqlite-UPDATE staff SET role = 'admin' WHERE handle = 'ada']"
            ),
        ),
        "One UPDATE makes a viewer an admin.",
    ),
    Check(
        "older right row of a staff member, written back",
        f"{_ACCESS}/members.py",
        "if _current_grant(session, handle) != row.granted_by:",
        "if False:",
        (f"{_MEMBER_TESTS}::test_older_right_row_that_is_written_back_grants_nothing[sqlite]",),
        "Who was an admin once, and kept a copy of the row, is one again.",
    ),
    Check(
        "older row written back, with a forged entry of the audit log",
        f"{_ACCESS}/members.py",
        "return None if newest in orders else newest or BOOTSTRAP",
        "return newest or BOOTSTRAP",
        (f"{_MEMBER_TESTS}::test_older_right_row_that_is_written_back_grants_nothing[sqlite]",),
        "The same, for somebody who can compute a hash.",
    ),
    Check(
        "code of a second factor's row",
        f"{_ACCESS}/factor_rows.py",
        "return row.removed_at is None and self.is_right(row) and newest",
        "return row.removed_at is None and newest",
        (
            f"{_MEMBER_TESTS}::test_factor_row_written_by_sql_proves_nothing[sqlite-UPDATE staff_factor SET mac = '']",
            "worker/access/test_passkey_factors.py::test_row_changed_by_sql_grants_nothing[sqlite-other owner]",
        ),
        "One UPDATE gives a colleague one's own passkey as second factor.",
    ),
    Check(
        "removed second factor, written back",
        f"{_ACCESS}/factor_rows.py",
        " and newest_order(session, row.id, REMOVED) is None",
        "",
        (f"{_MEMBER_TESTS}::test_removed_factor_stays_removed_when_its_row_is_written_back[sqlite]",),
        "A stolen phone's codes count again.",
    ),
    Check(
        "code of a session's row",
        f"{_ACCESS}/sessions.py",
        "        if not self._codes.is_right(row):\n            raise SessionEndedError",
        "        if False:\n            raise SessionEndedError",
        (
            "worker/access/test_sessions.py::test_session_ends[sqlite-longer by SQL]",
            "worker/access/test_sessions.py::test_session_ends[sqlite-used by SQL]",
        ),
        "One UPDATE keeps a session open for ever.",
    ),
    Check(
        "ended session, written back",
        f"{_ACCESS}/sessions.py",
        " or newest_order(session, row.id, ENDED) is not None",
        "",
        ("worker/access/test_sessions.py::test_ended_session_stays_ended_also_when_its_row_is_edited[sqlite]",),
        "A stolen session that was ended is open again.",
    ),
    Check(
        "code of a log-in that waits in a browser",
        f"{_ACCESS}/browser_logins.py",
        "return row if row is not None and self._codes.is_right(row) else None",
        "return row",
        (f"{_LOGIN_TESTS}::test_log_in_changed_by_sql_is_refused[sqlite-mac = '']",),
        "Somebody who writes to the database puts their own cookie in place of a colleague's.",
    ),
    Check(
        "code of an order that waits for its signature",
        f"{_ACCESS}/pending_orders.py",
        " and self._codes.is_right(row)",
        "",
        (
            (
                f"{_LOGIN_TESTS}::test_pending_order_changed_by_sql_is_shown_to_nobody"
                "[sqlite-body = replace(body, 'phoned', 'mailed')]"
            ),
        ),
        "Staff are shown, and sign, what somebody has written into the database.",
    ),
    Check(
        "code of the built-in authority's key",
        f"{_ACCESS}/authority.py",
        "return [row for row in rows if self._codes.is_right(row)]",
        "return list(rows)",
        (f"{_CLI_TESTS}::test_authority_key_written_by_sql_signs_nothing[sqlite]",),
        "The host issues certificates under a row that somebody has written.",
    ),
    Check(
        "incident's timeline that was edited by SQL",
        "octy_worker/evidence/verification.py",
        "if (entry.at, entry.actor, what, entry.detail) not in listed:",
        "if False:",
        ("worker/cli/test_cli_audit_export.py::test_timeline_that_was_edited_by_sql_is_found_in_the_pack[sqlite]",),
        "The evidence shows another story than the audit log.",
    ),
)

ENROLMENT = (
    Check(
        "second bootstrap",
        "octy_worker/staff/membership.py",
        "if admins or _was_bootstrapped(session):",
        "if False:",
        (f"{_CLI_TESTS}::test_bootstrap_happens_once[sqlite]",),
        "Somebody who may run commands on the host becomes an admin, unseen by the others.",
    ),
    Check(
        "second bootstrap after the staff was deleted by SQL",
        "octy_worker/staff/membership.py",
        "if admins or _was_bootstrapped(session):",
        "if admins:",
        (f"{_CLI_TESTS}::test_bootstrap_happens_once[sqlite]",),
        "A DELETE of the staff makes room for an admin of one's own.",
    ),
    Check(
        "enrolment link used twice at the same time",
        f"{_ACCESS}/enrolments.py",
        ".where(col(StaffEnrolment.id) == enrolment.id, col(StaffEnrolment.used_at).is_(None))",
        ".where(col(StaffEnrolment.id) == enrolment.id)",
        (f"{_LOGIN_TESTS}::test_link_is_used_once_in_a_day_and_a_newer_one_replaces_it[sqlite]",),
        "Two factors are registered by one link, where the database lets both read first.",
    ),
    Check(
        "used enrolment link, written back",
        f"{_ACCESS}/enrolments.py",
        " and not was_used",
        "",
        (f"{_MEMBER_TESTS}::test_used_link_whose_row_is_written_back_grants_nothing[sqlite]",),
        "An old link registers a further factor.",
    ),
    Check(
        "enrolment link that has expired",
        f"{_ACCESS}/enrolments.py",
        " or utc(now) >= row.expires_at",
        "",
        (f"{_MEMBER_TESTS}::test_enrolment_link_is_used_once_within_its_time[sqlite]",),
        "A link in an old mail registers a factor.",
    ),
    Check(
        "code of an enrolment link's row",
        f"{_ACCESS}/enrolments.py",
        "return self._codes.is_right(row) and not was_used",
        "return not was_used",
        (
            f"{_MEMBER_TESTS}::test_enrolment_link_changed_by_sql_grants_nothing[sqlite-granted_by = 'bootstrap']",
            f"{_LOGIN_TESTS}::test_link_changed_by_sql_is_refused[sqlite-expires_at = expires_at + 1]",
        ),
        "One INSERT invites; with a certificate it becomes a second factor.",
    ),
    Check(
        "enrolment link with the certificate of somebody else",
        f"{_ACCESS}/factor_enrolment.py",
        "if link.member.handle != text.handle:",
        "if False:",
        (f"{_ENROLMENT_TESTS}::test_link_alone_registers_nothing_for_another_certificate[sqlite]",),
        "Who reads a colleague's mail registers a second factor for this colleague.",
    ),
    Check(
        "enrolment signed in the name of somebody else",
        f"{_ACCESS}/signed_text.py",
        "    check_principal(signed.certificate, text.handle)\n",
        "",
        (f"{_ENROLMENT_TESTS}::test_link_alone_registers_nothing_for_another_certificate[sqlite]",),
        "The same: the link alone is enough for anybody with a certificate.",
    ),
    Check(
        "enrolment signed for another link or secret",
        f"{_ACCESS}/factor_enrolment.py",
        " or not text.is_about(token=given.token, seed=given.seed)",
        "",
        (f"{_WRONG}[sqlite-text about another link]", f"{_WRONG}[sqlite-text about another secret]"),
        "Somebody between person and server registers a secret of their own.",
    ),
    Check(
        "enrolment signed for another server",
        f"{_ACCESS}/signed_text.py",
        "if text.server != server:",
        "if False:",
        (f"{_WRONG}[sqlite-another server]",),
        "A server that staff were lured to passes the enrolment on to ours.",
    ),
    Check(
        "hardware key that did not verify its user, at its registration",
        f"{_ACCESS}/factor_enrolment.py",
        "if not signed.user_verified:",
        "if False:",
        (
            f"{_ENROLMENT_TESTS}::test_token_without_its_user_registers_nothing[sqlite]",
            f"{_ENROLMENT_TESTS}::test_ordinary_key_is_not_registered_as_a_hardware_key[sqlite]",
        ),
        "An ordinary key is registered as second factor beside itself; its orders are refused later.",
    ),
    Check(
        "reset of one's own second factor",
        "octy_worker/staff/membership.py",
        "if by == handle:",
        "if False:",
        (f"{_CLI_TESTS}::test_order_about_staff_that_breaks_a_rule_is_refused[sqlite-amy-words5-ask a second admin]",),
        "Who has an admin's unlocked machine for a minute registers a factor for later.",
    ),
)
