"""TLS to servers of others."""

import ssl
from pathlib import Path

import pytest
from support.smtp_servers import Authority

from octy_middleware import ConfigurationError
from octy_worker.tls import client_context


def test_context_verifies_certificates_and_host_names_and_takes_no_old_tls(tmp_path: Path) -> None:
    tls = client_context(str(Authority(tmp_path).file))
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert tls.check_hostname
    assert tls.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "other"])
def test_ca_file_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"OCTY_X_CA_FILE can't be used: '{file}': "):
        client_context(str(file), setting="OCTY_X_CA_FILE")
