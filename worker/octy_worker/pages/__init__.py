"""Web pages that mails link to: answer an alert, collect a new secret key, order new keys.

The server must not write an access log, because the URLs of these pages are capabilities.
"""

from octy_worker.pages.app import build_pages

__all__ = ["build_pages"]
