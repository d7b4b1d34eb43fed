"""Links with capability tokens, and secrets encrypted at rest."""
