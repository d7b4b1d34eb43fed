"""How reports are drawn for people: the tables and pages of the `octy` command. Not here: what is in them (`reports`)."""
