"""One-time passwords: RFC 6238's own figures, and each way to be refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_worker.access.totp import new_seed, provisioning_uri, verify_code
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

SEED = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # "12345678901234567890", RFC 6238, appendix B


@pytest.mark.parametrize(
    ("now", "code"),
    [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")],
)
def test_codes_of_the_rfc_are_accepted(now: int, code: str) -> None:
    assert verify_code(SEED, code, last_counter=0, now=now) == now // 30


@pytest.mark.parametrize(("shift", "accepted"), [(-61, False), (-30, True), (30, True), (61, False)])
def test_clock_may_differ_by_one_step(shift: int, accepted: bool) -> None:
    now = 1_111_111_109
    if accepted:
        assert verify_code(SEED, "081804", last_counter=0, now=now + shift) == now // 30
        return
    with pytest.raises(RefusedSignatureError, match="wrong or too old"):
        verify_code(SEED, "081804", last_counter=0, now=now + shift)


def test_code_is_accepted_once() -> None:
    counter = verify_code(SEED, "081804", last_counter=0, now=1_111_111_109)
    for last in (counter, counter + 1):
        with pytest.raises(RefusedSignatureError, match=r"used before|wrong or too old"):
            verify_code(SEED, "081804", last_counter=last, now=1_111_111_109)


@given(code=st.text(max_size=12).filter(lambda text: text.strip() != "081804"))
def test_other_text_is_refused_and_raises_nothing_else(code: str) -> None:
    try:
        verify_code(SEED, code, last_counter=0, now=1_111_111_109)
    except RefusedSignatureError:
        return
    digits = "".join(char for char in code if char.isdigit())
    assert len(digits) == 6, "only six digits can be right"


def test_new_seed_is_what_apps_read_from_the_uri() -> None:
    seed = new_seed(lambda count: b"x" * count)
    uri = provisioning_uri(seed, handle="ada", issuer="Octy")
    assert uri.startswith("otpauth://totp/")
    assert f"secret={seed}" in uri
    assert "issuer=Octy" in uri
