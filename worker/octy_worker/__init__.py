"""The worker: the only part that touches SQL, Temporal, mail and the pages.

outbox ─► relay ─► Temporal ─► activities ─► incidents, regenerations (SQL) · mail (SMTP)
pages (customers)  ─► incidents, regenerations ─► outbox
cli (`octy`, staff) ─► Temporal update, or SQL and outbox
"""
