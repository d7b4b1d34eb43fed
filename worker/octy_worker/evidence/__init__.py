"""Evidence packs: what is known about one incident, in a file that others verify without the database.

records       which entries of the audit log and which orders belong to an incident
layout        the files of a pack and their fields
contents      the files of a pack: timeline, attempts, mails
pack          makes a pack: files, manifest, signature
reader        reads a pack's files, with limits
verification  verifies a pack, with public keys alone
order_proofs  verifies the orders of a pack: signature, certificate, second factor, role
grants        what the log of a pack granted to people, and whether the orders behind it say the same
"""
