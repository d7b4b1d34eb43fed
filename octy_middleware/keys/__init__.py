"""Key pairs, secrets and hashes as values: created, parsed, digested and verified. No database."""
