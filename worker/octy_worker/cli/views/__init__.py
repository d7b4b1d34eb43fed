"""How reports are drawn for people. Not here: what is in them (`octy_worker.reports.queries`)."""
