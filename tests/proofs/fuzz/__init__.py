"""`python -m proofs.fuzz`: unusual requests by the million, through the real code.

strategies, mutations             the requests: by Hypothesis, and what random edits make of those
reference, reference_address      what must come of a request, decided a second time from the documents alone
installation, adapters, sockets   a database with key pairs; authenticators, adapters and servers over it
checks, database_checks           compare decision, response, events and tables with the reference
session, fuzzer                   one request by one entry point; all requests of a process
"""
