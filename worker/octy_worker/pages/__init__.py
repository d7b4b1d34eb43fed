"""The web pages that mails link to: answer a case, collect a new secret key, have keys replaced.

Here: HTTP in, HTML out. Not here: what an answer, a collection or an order does (`cases`, `regenerations`,
`notices`), and the server that runs the app (`daemon`).

    app       routes, and the answers to what matches none
    confirm   /case: "It was us", "It was not us"
    reveal    /keys: a new secret key, shown once
    replace   /notice: keys that may have been read by others, replaced on the press of a button
    linked    what pages behind a link have in common
    forms     PURE but for reading: a bounded body into plain fields
    notices   PURE  every page that is only a message, as data
    words     PURE  times, counts and strangers' text in words that are safe to show
    render    templates and the style into responses
    shell     security headers on every response, and the last net for faults

The server must not write an access log: the addresses of these pages are capabilities (invariant 5).
"""

from octy_worker.pages.app import build_pages

__all__ = ["build_pages"]
