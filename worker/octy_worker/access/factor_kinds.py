"""PURE. The kinds of second factors."""

from enum import StrEnum


class FactorKind(StrEnum):
    """Kinds of second factors."""

    TOTP = "totp"
    PASSKEY = "passkey"
    HARDWARE_KEY = "hardware-key"  # a FIDO token that holds the SSH key; its certificate is judged at each use
