"""PURE. Mail addresses: the one function that says what is one, for accounts, settings, imports and the mailer.

Here: the form. Not here: whether a mailbox exists (the relay says), whose address it is (`accounts`).
"""


def normalize_mail_address(text: str) -> str | None:
    """Return the address as it goes over SMTP, and as it is stored: ASCII, the domain in IDNA. None: it is none.

    No DNS is asked, and names of private networks are taken: the relay knows its domains. Local parts beyond ASCII
    are refused, because the mail library can't send to them.
    """
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415  # slow to load, seldom needed

    try:
        found = validate_email(
            text,
            allow_smtputf8=False,
            strict=True,
            check_deliverability=False,
            globally_deliverable=False,
            test_environment=True,
        )
    except EmailNotValidError:
        return None
    return found.ascii_email
