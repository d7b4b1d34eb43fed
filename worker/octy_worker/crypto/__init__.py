"""Links with capability tokens, secrets encrypted at rest, SSH certificates and signatures."""
