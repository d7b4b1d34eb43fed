"""The texts of refusals of staff. No tests here."""

from collections.abc import Callable

import pytest

from octy_worker.crypto.ssh_certificates import RefusedSignatureError


def refusal(call: Callable[..., object], *values: object, **options: object) -> str:
    """Return why a call is refused."""
    with pytest.raises(RefusedSignatureError) as refused:
        call(*values, **options)
    return str(refused.value)
