"""Key pairs and hashes as values: made, read, digested and verified. No database."""
