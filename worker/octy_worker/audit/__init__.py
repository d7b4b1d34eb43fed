"""The audit log: a chain of hashes over everything that staff and customers did, with signed checkpoints."""
