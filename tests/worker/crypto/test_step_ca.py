"""A certificate of a real step-ca, as docs/staff.md describes it: issued by its API with its default template.

smallstep/certificates 0.19.0, set up as by `step ca init --ssh`, signed the key on 2026-11-30 for the default of 16
hours; `ssh-keygen -Y sign -n octy-order` signed the text with that key.
"""

import pytest

from octy_worker.crypto.ssh_certificates import (
    CertificateAuthorities,
    RefusedSignatureError,
    Revocations,
    check_principal,
)
from octy_worker.crypto.ssh_signatures import verify_signature

HOUR = 3600
ISSUED_AT = 1_796_039_455
AUTHORITY = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBLIYBwNLgeXV2PWcYEAlZrB6weOr"
    "RaQolhkHEiervGfO9AVXA1qwxBpXQMsjCt3EWpd12jS+/RmOLypIuppAs98="
)
SIGNATURE = """\
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAAgkAAAAgc3NoLWVkMjU1MTktY2VydC12MDFAb3BlbnNzaC5jb20AAA
AgMiZkPTxvX2N9bFJiJ05JbXJJMCsuNHpEN2pnWTFjQ3QAAAAgE4W8B8EcirTnicL7eqDM
bzfLtOu2A1mMKn3dQZbofrcUGYyfnqir7AAAAAEAAAAQYWRhQG9jdHkuZXhhbXBsZQAAAA
cAAAADYWRhAAAAAGsNYuMAAAAAaw5EHwAAAAAAAACCAAAAFXBlcm1pdC1YMTEtZm9yd2Fy
ZGluZwAAAAAAAAAXcGVybWl0LWFnZW50LWZvcndhcmRpbmcAAAAAAAAAFnBlcm1pdC1wb3
J0LWZvcndhcmRpbmcAAAAAAAAACnBlcm1pdC1wdHkAAAAAAAAADnBlcm1pdC11c2VyLXJj
AAAAAAAAAAAAAABoAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBL
IYBwNLgeXV2PWcYEAlZrB6weOrRaQolhkHEiervGfO9AVXA1qwxBpXQMsjCt3EWpd12jS+
/RmOLypIuppAs98AAABkAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAABJAAAAIHaCQxrDs8
i9rafX2yJE/lgFGVdpq1LVEnd9PaqFVS1qAAAAIQCK62JJ8V/Lr4EGeWRr4rxbXGjQYvq1
F2jmIEX586hoRwAAAApvY3R5LW9yZGVyAAAAAAAAAAZzaGE1MTIAAABTAAAAC3NzaC1lZD
I1NTE5AAAAQERyF2gab9cYMtbhXoGsKtuIRMUBAImQSNHfw5CKNhcBvHxjhAp0T0iTRon3
Y8MECVr7qyHflOys1wMgf1pglAg=
-----END SSH SIGNATURE-----
"""


def verify(at: float, *, lifetime: float = 16 * HOUR, revoked: tuple[str, ...] = ()):
    authorities = CertificateAuthorities([AUTHORITY], max_lifetime=lifetime, revoked=Revocations.parse(revoked))
    return verify_signature(SIGNATURE, b"hello", namespace="octy-order", authorities=authorities, now=at).certificate


def test_certificate_of_step_ca_is_accepted_with_the_default_settings():
    certificate = verify(ISSUED_AT + HOUR)
    check_principal(certificate, "ada")
    assert certificate.key_id == "ada@octy.example"
    assert certificate.valid_before - certificate.valid_after == 16 * HOUR + 60, "step-ca backdates by a minute"


@pytest.mark.parametrize(
    ("at", "options", "why"),
    [
        (ISSUED_AT + 16 * HOUR, {}, "has expired"),
        (ISSUED_AT - 120, {}, "not valid yet"),
        (ISSUED_AT, {"lifetime": 8 * HOUR}, "longer than 8 h"),
        (ISSUED_AT, {"revoked": ("id:ada@octy.example",)}, "revoked"),
    ],
)
def test_certificate_of_step_ca_is_refused_outside_of_the_rules(at, options, why):
    with pytest.raises(RefusedSignatureError, match=why):
        verify(at, **options)
