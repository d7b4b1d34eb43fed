"""The audit log, its checkpoints, and evidence packs, each of which somebody has changed who can compute hashes."""

from proofs.security.checks.check import Check

_CHAIN = "octy_worker/audit/chain.py"
_CHAIN_TESTS = "worker/audit/test_chain.py"
_CHECKPOINTS = "octy_worker/audit/checkpoints.py"
_CONTINUE = "worker/audit/test_checkpoints.py::test_checkpoints_that_do_not_continue_each_other_are_refused"
_CLI_TESTS = "worker/cli/test_cli_audit.py"
_READER = "octy_worker/evidence/reader.py"
_PROOFS = "octy_worker/evidence/order_proofs.py"
_VERIFICATION = "octy_worker/evidence/verification.py"
_PACK_TESTS = "worker/evidence/test_evidence_packs.py"
_SIGNED = f"{_PACK_TESTS}::test_changed_file_is_found_although_the_manifest_is_signed_again"
_GRANTS = "octy_worker/evidence/grants.py"
_GRANT_TESTS = f"{_PACK_TESTS}::test_grant_that_its_order_does_not_bear_out_is_found"
_BORNE_OUT = f"{_PACK_TESTS}::test_order_that_the_log_does_not_bear_out_is_refused"
_EMPTIED = f"{_PACK_TESTS}::test_what_somebody_has_emptied_does_not_pass_as_erased"
_APPROVALS = (f"{_PACK_TESTS}::test_approval_by_break_glass_unused_or_by_a_smaller_role_does_not_count[sqlite]",)

LOG = (
    Check(
        "edited field of an entry",
        _CHAIN,
        "if entry.hash != _hash(entry):",
        "if False:",
        tuple(
            f"{_CHAIN_TESTS}::test_changed_field_is_found_and_named[{name}]"
            for name in ("actor", "action", "subject", "order_id", "at")
        ),
        "One UPDATE gives an act another author.",
    ),
    Check(
        "edited detail of an entry",
        _CHAIN,
        'if entry.detail is not None and not has_right_detail(entry.detail, entry.salt or "", entry.commitment):',
        "if False:",
        (f"{_CHAIN_TESTS}::test_changed_field_is_found_and_named[detail]",),
        "One UPDATE gives an act another reason.",
    ),
    Check(
        "entry whose hash was computed again; moved and inserted entries",
        _CHAIN,
        "if entry.previous_hash != last.hash:",
        "if False:",
        (
            f"{_CHAIN_TESTS}::test_change_with_a_new_hash_is_found_at_the_next_entry",
            f"{_CLI_TESTS}::test_tampering_by_sql_is_found_and_named[sqlite-inserted]",
        ),
        "Entries can be replaced one by one; the chain is none.",
    ),
    Check(
        "deleted entry, named by its number",
        _CHAIN,
        "if entry.seq != last.seq + 1:",
        "if False:",
        (f"{_CHAIN_TESTS}::test_deleted_swapped_and_inserted_entries_are_found_and_named",),
        "Little: the hash before finds it too, and another entry is named.",
    ),
    Check(
        "end that was cut off behind a checkpoint",
        _CHAIN,
        "if expected and max(expected) > last.seq:",
        "if False:",
        (f"{_CHAIN_TESTS}::test_end_cut_behind_a_checkpoint_is_found_and_after_the_last_is_not",),
        "The last days of the log are deleted, with the checkpoints in the database, unseen.",
    ),
    Check(
        "end that was written again",
        _CHAIN,
        "if expected.get(entry.seq, entry.hash) != entry.hash:",
        "if False:",
        (
            f"{_CHAIN_TESTS}::test_rewritten_end_is_found_by_a_checkpoint_only",
            f"{_CLI_TESTS}::test_rewritten_log_passes_without_checkpoints_and_is_found_with_them[sqlite]",
        ),
        "Who can write to the database computes a log of their own.",
    ),
    Check(
        "details that were erased by SQL",
        "octy_worker/audit/log_verification.py",
        "missing = chain.erased - chain.erasures if has_details else 0",
        "missing = 0",
        (f"{_CLI_TESTS}::test_detail_that_was_erased_by_sql_is_found[sqlite]",),
        "The reasons of some acts are gone, as if a customer had been erased.",
    ),
    Check(
        "forged checkpoint",
        _CHECKPOINTS,
        'if not verify_signature(body.encode(errors="replace"), signature, key_id, keys):',
        "if False:",
        (
            "worker/audit/test_checkpoints.py::test_changed_lines_are_refused_and_raise_nothing_else",
            f"{_CLI_TESTS}::test_forged_checkpoint_is_found[sqlite]",
        ),
        "A rewritten log comes with checkpoints to match.",
    ),
    Check(
        "checkpoint that does not continue the one before it",
        _CHECKPOINTS,
        "if after.previous != before.signature or after.seq < before.seq:",
        "if False:",
        (f"{_CONTINUE}[unlinked]", f"{_CONTINUE}[shrunk]"),
        "A checkpoint that was taken from the log is replaced by one of another line of the same keys.",
    ),
    Check(
        "checkpoint of another installation",
        _CHECKPOINTS,
        "if checkpoint.installation != installation:",
        "if False:",
        (f"{_CONTINUE}[foreign]",),
        "Checkpoints of a test installation with the same keys count as ours.",
    ),
)

PACKS = (
    Check(
        "changed manifest",
        _READER,
        "if not verify_signature(manifest, signature, ",
        "if False and not verify_signature(manifest, signature, ",
        (f"{_PACK_TESTS}::test_changed_manifest_is_found[changed]",),
        "Somebody who has a pack writes another one.",
    ),
    Check(
        "changed file",
        _READER,
        "if hashlib.sha256(files[name]).hexdigest() != hashes[name]:",
        "if False:",
        (f"{_PACK_TESTS}::test_changed_file_is_found_by_the_manifest[attempts.csv]",),
        "Attempts, mails and the page can be edited.",
    ),
    Check(
        "grant without an order, to somebody who is not the first admin",
        _GRANTS,
        "if person != self._bootstrapped:",
        "if False:",
        (f"{_BORNE_OUT}[sqlite-role without an order]",),
        "Who has the keys of the host makes an admin without an order.",
    ),
    Check(
        "grant of something else than its order says",
        _GRANTS,
        "if not right:",
        "if False:",
        (
            f"{_GRANT_TESTS}[sqlite-an order for another role]",
            f"{_GRANT_TESTS}[sqlite-an order to end all rights]",
            f"{_PACK_TESTS}::test_order_about_a_role_lets_no_disabled_person_act_again[sqlite]",
        ),
        "Who has the keys of the host gives a role behind any order about staff.",
    ),
    Check(
        "grant behind an order about another person",
        _GRANTS,
        'if order.subject != person or not order.action.startswith("staff."):',
        "if False:",
        (f"{_GRANT_TESTS}[sqlite-an order for another person]",),
        "The same, behind a real order that invites somebody else.",
    ),
    Check(
        "grant that stands in the log again",
        _GRANTS,
        "if _is_written_back([entry.order_id for entry in granted]):",
        "if False:",
        (f"{_PACK_TESTS}::test_grant_that_stands_in_the_log_again_counts_no_more[sqlite]",),
        "A role that was taken away comes back by an entry that anybody can compute.",
    ),
    Check(
        "second factor behind an order that does not invite",
        _GRANTS,
        "if order is not None and order.action not in {Action.ADD_STAFF, Action.RESET_FACTOR}:",
        "if False:",
        (f"{_PACK_TESTS}::test_factor_needs_an_order_that_invites_its_owner[sqlite]",),
        "Who has the keys of the host registers a factor for somebody who was not invited.",
    ),
    Check(
        "author who did not have the role",
        _PROOFS,
        "if not self._grants.has_role(order.actor, required_role(order.action, order.fields), received):",
        "if False:",
        (f"{_BORNE_OUT}[sqlite-role too small]",),
        "A receipt that was forged with the keys of the host passes, though the log shows a smaller role.",
    ),
    Check(
        "order that was emptied, and no erasure says so",
        _PROOFS,
        'if not any(record["id"] in Erasure.of(entry).orders for entry in later):',
        "if False:",
        (f"{_EMPTIED}[sqlite-an order]",),
        "What was signed is gone, as if the customer had been erased.",
    ),
    Check(
        "detail that was emptied, and no erasure says so",
        _VERIFICATION,
        "if is_shown and entry.detail is None and entry.seq not in erased:",
        "if False:",
        (f"{_EMPTIED}[sqlite-a detail]", f"{_EMPTIED}[sqlite-a receipt]"),
        "What was done is gone, as if the customer had been erased.",
    ),
    Check(
        "hardware key that did not verify its user",
        _PROOFS,
        "if not signed.user_verified:",
        "if False:",
        (f"{_BORNE_OUT}[sqlite-no second factor]",),
        "A receipt that was forged with the keys of the host passes without a second factor.",
    ),
    Check(
        "order that was received at another time",
        _PROOFS,
        "if (entry.at, entry.actor, entry.subject) != (at, actor, subject):",
        "if False:",
        (f"{_SIGNED}[an order's time]",),
        "An order is dated back.",
    ),
    Check(
        "order with another second factor than in the log",
        _PROOFS,
        """if entry.detail is not None and detail_of(entry)["factor"] != record["factor"]:""",
        "if False:",
        (f"{_PACK_TESTS}::test_signed_order_can_not_be_passed_off_as_another_kind",),
        "A signed order is passed off as break glass, and its signature is not looked at.",
    ),
    Check(
        "order that is left out",
        _VERIFICATION,
        "if is_kept and entry.order_id not in orders:",
        "if False:",
        (f"{_SIGNED}[all orders are left out]",),
        "An admin with the audit key leaves out who decided.",
    ),
    Check(
        "event of the timeline that is missing or changed",
        _VERIFICATION,
        "if (entry.at, entry.actor, what, entry.detail) not in listed:",
        "if False:",
        (f"{_SIGNED}[timeline.json]",),
        "An admin with the audit key tells another story than the log.",
    ),
    Check(
        "detail of no entry",
        _VERIFICATION,
        "    if unknown:\n",
        "    if False:\n",
        (f"{_SIGNED}[a detail of no entry]",),
        "Details are shown that were never in the log.",
    ),
    Check(
        "approval by break glass",
        _PROOFS,
        'if approval.order_id not in self._used or record["factor"] in {BREAK_GLASS, UNPROVEN}:',
        "if approval.order_id not in self._used:",
        _APPROVALS,
        "The pack shows a second person where there was none.",
    ),
    Check(
        "approval that was never used",
        _PROOFS,
        'if approval.order_id not in self._used or record["factor"] in {BREAK_GLASS, UNPROVEN}:',
        'if record["factor"] in {BREAK_GLASS, UNPROVEN}:',
        _APPROVALS,
        "The pack shows an approval that came too late as one.",
    ),
    Check(
        "approval by a role that is too small",
        _PROOFS,
        "if self._grants.has_role(approval.actor, needed, self._receipt(record, approval)):",
        "if True:",
        _APPROVALS,
        "The pack shows somebody as second person who may not approve.",
    ),
)
