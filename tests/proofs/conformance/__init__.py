"""One table of cases, run over TCP against every framework on every server: they must all say the same.

accounts           the accounts whose keys the requests carry, in a database that each cell gets a copy of
apps/              the same small app in each framework
servers            how each server is started
raw_http           a client that sends bytes as they are and reads responses exactly
response_text      a response's bytes → what it says, in a few words
cases/             THE table: request bytes, expected responses, expected record
known_differences  where a server is known to differ, what it does, and why
cells              a framework on a server: all cases of it, and what was recorded of them
pipeline           servers start while the cells before them run
table              the report, as text and as docs/conformance.md
"""
