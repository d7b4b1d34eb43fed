"""A database that was restored from a backup: what Temporal knows and the database does not, and applying it again.

    known        PURE: what the history of one workflow says of a regeneration or an incident
    histories    Temporal: which workflows there are, their histories, terminating one
    detection    how many regenerations and incidents the database forgot; for doctor and reconciliation
    repair       SQL: apply what is known of one regeneration or incident, in one transaction
    command_log  which key pairs the lines of the command log say were revoked

`octy_worker.staff.restore` puts them together, for `octy db restored`.

Every step only takes something away from a key pair: a retired pair is never made active again, a secret never comes
back. SQL stays right where no backup was restored: a workflow ends only after SQL has ended its subject.
"""
