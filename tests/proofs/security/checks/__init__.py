"""The checks of staff's design, by subject: which test notices that a check is gone, and what an attacker then gets.

check          one row
certificates   who somebody is: certificates, signatures, second factors
orders         what is ordered: receipt, use, two people, break glass
rows           rows that somebody writes by SQL
sessions       log-ins, pages and routes
audit          the audit log and evidence packs
"""

from collections.abc import Mapping, Sequence

from proofs.security.checks import audit, certificates, orders, rows, sessions
from proofs.security.checks.check import Check

CHECKS: Mapping[str, Sequence[Check]] = {
    "Certificates and signatures": certificates.CERTIFICATES,
    "Second factors": certificates.FACTORS,
    "Orders at their receipt": orders.RECEIPT,
    "Orders at their use": orders.USE,
    "Two people, break glass": orders.PEOPLE,
    "Rows written by SQL": rows.ROWS,
    "First admin and enrolment": rows.ENROLMENT,
    "Log-ins and sessions": sessions.SESSIONS,
    "Pages in a browser": sessions.BROWSER,
    "Routes, failed log-ins, addresses": sessions.ROUTES,
    "Audit log": audit.LOG,
    "Evidence packs": audit.PACKS,
}
"""By section of docs/staff-checks.md."""
