"""The worker: the only part that touches SQL, Temporal, mail and the pages.

outbox ─► relay ─► Temporal ─► activities ─► cases, regenerations (SQL) · mail (SMTP)
pages (customers)  ─► cases, regenerations ─► outbox
cli (`octy`, staff) ─► Temporal update, or SQL and outbox
"""
