"""Who somebody is: certificates (PROTOCOL.certkeys), signatures (PROTOCOL.sshsig), second factors."""

from proofs.security.checks.check import Check

_CERTIFICATES = "octy_worker/crypto/ssh_certificates.py"
_SIGNATURES = "octy_worker/crypto/ssh_signatures.py"
_TESTS = "worker/crypto/test_ssh_signatures.py"
_REFUSED = f"{_TESTS}::test_certificate_is_refused"
_REVOKED = f"{_TESTS}::test_revoked_certificate_is_refused"
_RECEIPTS = "worker/access/test_receipts.py"
_ENROLMENT_TESTS = "worker/access/test_factor_enrolment.py"
_PASSKEYS = "octy_worker/access/passkeys.py"
_PASSKEY_TESTS = "worker/access/test_passkeys.py"
_ASSERTION = """\
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key"""

CERTIFICATES = (
    Check(
        "certificate of an authority that is not trusted",
        _CERTIFICATES,
        "if fields.authority not in self._keys:",
        "if False:",
        (f"{_TESTS}::test_certificate_of_another_authority_is_refused",),
        "Somebody who makes an authority of their own signs certificates in anybody's name.",
    ),
    Check(
        "certificate that names a trusted authority, and was not signed by it",
        _CERTIFICATES,
        "        verify_raw(fields.authority, algorithm, raw, fields.signed)\n",
        "",
        (f"{_TESTS}::test_certificate_that_only_names_a_trusted_authority_is_refused",),
        "The authority's public key, which is no secret, is enough to write certificates.",
    ),
    Check(
        "host certificate",
        _CERTIFICATES,
        "    if fields.type != _USER:",
        "    if False:",
        (f"{_REFUSED}[host certificate]",),
        "A server whose host name is a handle acts as this person.",
    ),
    Check(
        "certificate without principals",
        _CERTIFICATES,
        "if not fields.principals:",
        "if False:",
        (f"{_REFUSED}[no principal]",),
        "A certificate that OpenSSH takes for valid for everybody is read; only the next check still refuses it.",
    ),
    Check(
        "handle that is not among the principals",
        _CERTIFICATES,
        "if handle not in certificate.principals:",
        "if False:",
        (f"{_TESTS}::test_principal_must_be_the_person_who_acts",),
        "Everybody with a certificate signs as everybody else.",
    ),
    Check(
        "expired certificate",
        _CERTIFICATES,
        "if now >= certificate.valid_before:",
        "if False:",
        (f"{_REFUSED}[expired]",),
        "A key that was lost last year still signs.",
    ),
    Check(
        "certificate that is not valid yet",
        _CERTIFICATES,
        "if now < certificate.valid_after:",
        "if False:",
        (f"{_REFUSED}[not valid yet]",),
        "Certificates that were issued for later days count now.",
    ),
    Check(
        "certificate with a longer life than allowed",
        _CERTIFICATES,
        "if certificate.valid_before - certificate.valid_after > self._max_lifetime + BACKDATING:",
        "if False:",
        (f"{_REFUSED}[longer than allowed]", f"{_REFUSED}[forever]"),
        "One certificate that was issued for ever is worth as much as a password that never changes.",
    ),
    Check(
        "critical option that is not known",
        _CERTIFICATES,
        "    if unknown:\n",
        "    if False:\n",
        (f"{_REFUSED}[force-command]", f"{_REFUSED}[unknown critical option]"),
        "A restriction that the authority has set is ignored.",
    ),
    Check(
        "verify-required, and the key did not verify its user",
        _SIGNATURES,
        "if certificate.verify_required and not user_verified:",
        "if False:",
        (
            f"{_REFUSED}[demands verification]",
            f"{_TESTS}::test_certificate_that_demands_verification_takes_only_a_verified_user",
        ),
        "A stolen token signs without its PIN.",
    ),
    Check(
        "source-address: the rule",
        _CERTIFICATES,
        "    if not allowed:\n",
        "    if False:\n",
        (f"{_TESTS}::test_source_address_is_honoured",),
        "A certificate that is bound to the office works from everywhere.",
    ),
    Check(
        "source-address at the receipt of an order",
        "octy_worker/access/proofs.py",
        "        check_source(signed.certificate, evidence.source)\n",
        "",
        (f"{_RECEIPTS}::test_source_address_of_the_certificate_is_honoured[sqlite]",),
        "A stolen key that is bound to the office orders from everywhere.",
    ),
    Check(
        "revoked serial number",
        _CERTIFICATES,
        "certificate.serial in self._revoked.serials",
        "False",
        (f"{_REVOKED}[serial:17]",),
        "A stolen certificate counts until it expires.",
    ),
    Check(
        "revoked key id",
        _CERTIFICATES,
        "certificate.key_id in self._revoked.key_ids",
        "False",
        (f"{_REVOKED}[id:ada@laptop]",),
        "The certificates of a lost machine count until they expire.",
    ),
    Check(
        "revoked fingerprint of a key or an authority",
        _CERTIFICATES,
        "not self._revoked.fingerprints.isdisjoint({certificate.fingerprint, certificate.authority})",
        "False",
        (f"{_REVOKED}[user key]", f"{_REVOKED}[authority]"),
        "A stolen key gets further certificates that count.",
    ),
    Check(
        "key of another algorithm",
        "octy_worker/crypto/ssh_certificate_fields.py",
        """b"ssh-ed25519-cert-v01@openssh.com": (b"ssh-ed25519", 1),""",
        """b"ssh-ed25519-cert-v01@openssh.com": (b"ssh-ed25519", 1),
        b"ssh-rsa-cert-v01@openssh.com": (b"ssh-rsa", 2),""",
        (f"{_TESTS}::test_certified_rsa_key_is_refused",),
        "RSA keys of any length sign.",
    ),
    Check(
        "authority with a short RSA key",
        _CERTIFICATES,
        "if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:",
        "if False:",
        (f"{_TESTS}::test_short_rsa_authority_is_an_error_of_configuration",),
        "An authority's key that can be factored makes certificates.",
    ),
    Check(
        "signature over another text, or by another key than the certificate's",
        _SIGNATURES,
        "    verify_raw(certificate.public_key, algorithm, raw, signed)\n",
        "",
        (
            f"{_TESTS}::test_signature_of_another_certified_key_is_refused",
            f"{_TESTS}::test_signature_in_another_namespace_or_over_another_message_is_refused",
        ),
        "One old signature, with the certificate in it, signs everything.",
    ),
    Check(
        "signature for another purpose (namespaces of log-in, order, enrolment)",
        _SIGNATURES,
        "if parts.namespace != namespace.encode():",
        "if False:",
        (
            f"{_RECEIPTS}::test_wrong_namespace_text_signer_and_code_are_refused[sqlite]",
            "worker/access/test_sessions.py::test_signature_code_state_and_address_are_judged[sqlite]",
            f"{_ENROLMENT_TESTS}::test_enrolment_with_one_thing_wrong_is_refused[sqlite-another namespace]",
        ),
        "What somebody signed for another program, such as a Git commit, serves here if its text is one of ours.",
    ),
    Check(
        "approval that was signed as an order",
        "octy_worker/access/orders.py",
        "return Namespace.APPROVAL if self.action is Action.APPROVE else Namespace.ORDER",
        "return Namespace.ORDER",
        ("worker/access/test_approvals.py::test_approval_that_was_signed_as_an_order_is_refused[sqlite]",),
        "A program that may sign orders approves them too.",
    ),
    Check(
        "FIDO token that was not touched",
        _SIGNATURES,
        "if not flags & _USER_PRESENT:",
        "if False:",
        (f"{_TESTS}::test_hardware_key_without_a_present_user_is_refused",),
        "A program on the machine has a plugged-in token sign unseen.",
    ),
)

FACTORS = (
    Check(
        "FIDO token (sk-) that did not verify its user",
        _SIGNATURES,
        "return bool(flags & _USER_VERIFIED)",
        "return bool(flags)",
        (
            f"{_TESTS}::test_hardware_key_tells_whether_its_user_was_verified[1-False-ed25519]",
            f"{_RECEIPTS}::test_hardware_key_that_verified_its_user_needs_no_code[sqlite]",
        ),
        "A stolen token without its PIN is certificate and second factor in one.",
    ),
    Check(
        "order or log-in without a second factor",
        "octy_worker/access/members.py",
        '            raise RefusedSignatureError(\n                "a second factor is missing',
        '            return str(\n                "a second factor is missing',
        (
            f"{_RECEIPTS}::test_wrong_namespace_text_signer_and_code_are_refused[sqlite]",
            f"{_RECEIPTS}::test_hardware_key_that_verified_its_user_needs_no_code[sqlite]",
            "worker/access/test_sessions.py::test_signature_code_state_and_address_are_judged[sqlite]",
        ),
        "A stolen key with its certificate is enough to order, and to read all that its owner may read.",
    ),
    Check(
        "wrong one-time password",
        "octy_worker/access/totp.py",
        '        raise RefusedSignatureError("the code is wrong or too old; compare the clocks") from None',
        "        return last_counter + 1",
        (
            "worker/access/test_totp.py::test_other_text_is_refused_and_raises_nothing_else",
            f"{_RECEIPTS}::test_wrong_namespace_text_signer_and_code_are_refused[sqlite]",
        ),
        "Every six digits are the second factor.",
    ),
    Check(
        "one-time password of an hour ago",
        "octy_worker/access/totp.py",
        "_WINDOW = 30 ",
        "_WINDOW = 3600 ",
        (
            "worker/access/test_totp.py::test_clock_may_differ_by_one_step[-61-False]",
            "worker/access/test_totp.py::test_clock_may_differ_by_one_step[61-False]",
        ),
        "A code that was seen and never sent can be used later, and 241 codes are right at a time.",
    ),
    Check(
        "replayed one-time password: the counter that was read",
        "octy_worker/access/totp.py",
        "window=_WINDOW, last_counter=last_counter)",
        "window=_WINDOW)",
        ("worker/access/test_totp.py::test_code_is_accepted_once",),
        "Nothing alone: the next check refuses it by the database.",
    ),
    Check(
        "replayed one-time password: the update of the counter",
        "octy_worker/access/members.py",
        ".where(col(StaffFactor.id) == factor.id, col(StaffFactor.counter) < counter)",
        ".where(col(StaffFactor.id) == factor.id)",
        ("worker/access/test_members.py::test_code_counts_once_also_where_its_counter_was_read_before[sqlite]",),
        "Two who send one code at the same time both pass, where the database lets both read first.",
    ),
    Check(
        "code that registered the app, used again",
        "octy_worker/access/factor_enrolment.py",
        "                counter=counter, detail=detail,",
        "                counter=0, detail=detail,",
        ("worker/access/test_factor_enrolment.py::test_code_that_registered_a_factor_orders_nothing[sqlite]",),
        "Who looked on at the enrolment has a code for an order.",
    ),
    Check(
        "passkey: answer to another page (origin)",
        _PASSKEYS,
        _ASSERTION,
        _ASSERTION.replace("party.origin", "parse_client_data_json(credential.response.client_data_json).origin"),
        (
            "worker/access/test_passkey_orders.py::test_signature_by_other_rules_is_refused[sqlite-other origin]",
            f"{_PASSKEY_TESTS}::test_answer_is_refused[same host, other port]",
        ),
        "Another server on the same host name has our orders signed.",
    ),
    Check(
        "passkey: of another host name (relying party)",
        _PASSKEYS,
        'return cls(host, f"{parts.scheme}',
        'return cls(host.partition(".")[2] or host, f"{parts.scheme}',
        (f"{_PASSKEY_TESTS}::test_relying_party_is_the_host_of_the_servers_url[https://staff.octy.example-party0]",),
        "All servers of the domain can ask for the passkeys of staff.",
    ),
    Check(
        "passkey: signature of another order, or of one that was changed (challenge)",
        _PASSKEYS,
        _ASSERTION,
        _ASSERTION.replace("=challenge", "=parse_client_data_json(credential.response.client_data_json).challenge"),
        (
            (
                "worker/access/test_passkey_orders.py"
                "::test_signature_of_another_order_or_of_a_changed_one_is_refused[sqlite]"
            ),
            f"{_PASSKEY_TESTS}::test_answer_is_refused[other challenge]",
        ),
        "One signature is good for every order.",
    ),
    Check(
        "passkey: the challenge is the digest of the whole order",
        "octy_worker/access/passkey_orders.py",
        "return bytes.fromhex(order.digest())",
        "return order.order_id.encode()",
        (
            (
                "worker/access/test_passkey_orders.py"
                "::test_signature_of_another_order_or_of_a_changed_one_is_refused[sqlite]"
            ),
        ),
        "What was signed can be changed afterwards, under the same id.",
    ),
    Check(
        "passkey: user not verified, at a signature",
        _PASSKEYS,
        "credential_current_sign_count=last_counter,\n            require_user_verification=True,",
        "credential_current_sign_count=last_counter,\n            require_user_verification=False,",
        (
            "worker/access/test_passkey_orders.py::test_signature_by_other_rules_is_refused[sqlite-not verified]",
            f"{_PASSKEY_TESTS}::test_answer_is_refused[not verified]",
        ),
        "A stolen token or an unlocked machine signs without fingerprint or PIN.",
    ),
    Check(
        "passkey: user not verified, at the registration",
        _PASSKEYS,
        "require_user_verification=True,\n            supported_pub_key_algs",
        "require_user_verification=False,\n            supported_pub_key_algs",
        (f"{_PASSKEY_TESTS}::test_answer_is_refused[not verified]",),
        "A token that does not verify its user is registered; its orders are refused later.",
    ),
    Check(
        "passkey: a frame of ours in a page of others",
        _PASSKEYS,
        "if parse_client_data_json(client_data).cross_origin:",
        "if False:",
        (f"{_PASSKEY_TESTS}::test_answer_is_refused[frame of another origin]",),
        "A page of others shows our page in a frame and has its button pressed.",
    ),
    Check(
        "passkey: of another person",
        _PASSKEYS,
        "if credential.response.user_handle not in (None, user_id.encode()):",
        "if False:",
        (f"{_PASSKEY_TESTS}::test_signature_of_another_key_person_or_counter_is_refused",),
        "Nothing alone: keys are looked up by person; this says it a second time.",
    ),
    Check(
        "passkey: replayed or copied (the counter that was read)",
        _PASSKEYS,
        "credential_current_sign_count=last_counter,",
        "credential_current_sign_count=0,",
        (f"{_PASSKEY_TESTS}::test_signature_of_another_key_person_or_counter_is_refused",),
        "Nothing alone: the next check refuses it by the database.",
    ),
    Check(
        "passkey: replayed (the update of the counter)",
        "octy_worker/access/passkey_factors.py",
        "                kept < counter if counter else kept == 0,  # 0: an authenticator without a counter\n",
        "",
        (
            (
                "worker/access/test_passkey_factors.py"
                "::test_signature_counts_once_also_where_its_counter_was_read_before[sqlite]"
            ),
        ),
        "Two who send one signature at the same time both pass, where the database lets both read first.",
    ),
)
