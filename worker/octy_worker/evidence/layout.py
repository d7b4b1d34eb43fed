"""PURE. The files of a pack and their fields, for those who make packs and those who verify them."""

from octy_worker.audit.chain import Entry

FORMAT = "octy-evidence-1"
MANIFEST, SIGNATURE, CHAIN, DETAILS = "manifest.json", "manifest.sig", "chain.jsonl", "details.json"
CHECKPOINTS, ORDERS, TIMELINE, PAGE = "checkpoints.txt", "orders.json", "timeline.json", "timeline.html"
ATTEMPTS, MAILS = "attempts.csv", "mails.json"
FILES = (TIMELINE, PAGE, ATTEMPTS, MAILS, ORDERS, DETAILS, CHAIN, CHECKPOINTS)
"""The files that the manifest has hashes of."""

CHAINED = Entry._fields[:9]
"""Fields of an entry in the chain's file; the others are its detail and salt."""
ORDER_FIELDS = (
    "id", "action", "subject", "actor", "body", "signature", "certificate", "factor", "source", "part_of", "state",
    "used_by", "refusal",
)  # fmt: skip
"""Fields of an order; `received_at` and `ended_at`, Unix microseconds, are the others."""
