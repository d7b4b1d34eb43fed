"""Codes of rows: they fit one table, one row and one keychain."""

from hypothesis import given
from hypothesis import strategies as st

from octy_middleware.keys.keychain import Keychain
from octy_worker.access.row_macs import RowMacs

KEYS = Keychain.generate("k1")
ROW = {"handle": "ada", "role": "admin", "created_at": 1_800_000_000, "disabled": None}


def test_code_fits_its_row_only() -> None:
    macs = RowMacs(KEYS)
    mac = macs.make("staff", ROW)
    assert macs.is_right(mac, "staff", ROW)
    for table, row in [
        ("staff_order", ROW),
        ("staff", {**ROW, "role": "viewer"}),
        ("staff", {**ROW, "created_at": "1800000000"}),
        ("staff", {name: value for name, value in ROW.items() if name != "disabled"}),
        ("staff", {**ROW, "extra": None}),
    ]:
        assert not macs.is_right(mac, table, row)


def test_older_keys_of_the_chain_are_accepted_and_foreign_ones_are_not() -> None:
    mac = RowMacs(KEYS).make("staff", ROW)
    rotated = Keychain({**KEYS, "k2": b"2" * 32})
    assert RowMacs(rotated).is_right(mac, "staff", ROW)
    assert RowMacs(rotated).make("staff", ROW).startswith("k2$")
    assert not RowMacs(Keychain.generate("k1")).is_right(mac, "staff", ROW)
    assert not RowMacs(Keychain.generate("k9")).is_right(mac, "staff", ROW)


@given(mac=st.text(max_size=90))
def test_arbitrary_text_is_no_code(mac: str) -> None:
    assert not RowMacs(KEYS).is_right(mac, "staff", ROW)
