"""Validation of mail addresses, for accounts, settings, imports and the mailer."""


def normalize_mail_address(text: str) -> str | None:
    """Return the address as it is stored and sent over SMTP: ASCII, the domain in IDNA. None if it is not valid.

    DNS is not queried, and domains of private networks are accepted, since the mail server may know them. Local parts
    beyond ASCII are rejected, because the mail library cannot send to them.
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
