"""The Authorization header: every kind of malformed input, and what fuzzing finds."""

import copy
import pickle
import tracemalloc
from base64 import b64decode, b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_middleware.http.credentials import Credentials, Secret, is_public_key, parse_credentials
from octy_middleware.http.outcome import Outcome

PK = "pk_4Y9cRzq2LmN0aVbX7kDw3T1hQe5u"
SK = "sk_" + "9fKs2LqA" * 6 + "z"
PAIR = f"{PK}:{SK}".encode()
TOKEN = b64encode(PAIR)  # 28 * 4 bytes, no padding
SHORT = b64encode(PAIR[:-1])  # ends in "="
SHORTER = b64encode(PAIR[:-2])  # ends in "=="
OK, MISSING, MALFORMED = "ok", Outcome.MISSING, Outcome.MALFORMED
AMBIGUOUS, OVERSIZE = Outcome.AMBIGUOUS, Outcome.OVERSIZE


def basic(pair: bytes | str) -> bytes:
    return b"Basic " + b64encode(pair.encode() if isinstance(pair, str) else pair)


def read(*values: bytes, schemeless: bool = True, limit: int = 1024) -> Credentials | Outcome:
    return parse_credentials(values, schemeless=schemeless, limit=limit)


def with_trailing_bits(token: bytes) -> bytes:
    """Change the bits that padding makes meaningless: the same pair in another text."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = token.rstrip(b"=")
    other = alphabet[alphabet.index(body[-1]) + 1]
    changed = body[:-1] + bytes([other]) + token[len(body) :]
    assert b64decode(changed, validate=True) == b64decode(token)
    return changed


HEADERS = {
    # scheme
    "basic": (b"Basic " + TOKEN, OK),
    "scheme in lower case": (b"basic " + TOKEN, OK),
    "scheme in upper case": (b"BASIC " + TOKEN, OK),
    "scheme in mixed case": (b"bAsIc " + TOKEN, OK),
    "no scheme": (TOKEN, OK),
    "extra spaces between": (b"Basic    " + TOKEN, OK),
    "spaces and tabs around": (b" \tBasic " + TOKEN + b"\t ", OK),
    "scheme alone": (b"Basic", MALFORMED),
    "scheme and a space": (b"Basic ", MALFORMED),
    "no space": (b"Basic" + TOKEN, MALFORMED),
    "colon after the scheme": (b"Basic: " + TOKEN, MALFORMED),
    "tab after the scheme": (b"Basic\t" + TOKEN, MALFORMED),
    "tab and space after the scheme": (b"Basic\t " + TOKEN, MALFORMED),
    "latin-1 NBSP after the scheme": (b"Basic\xa0" + TOKEN, MALFORMED),
    "utf-8 NBSP after the scheme": (b"Basic\xc2\xa0" + TOKEN, MALFORMED),
    "look-alike letter in the scheme": ("B\u0430sic ".encode() + TOKEN, MALFORMED),
    "long s in the scheme": ("Ba\u017fic ".encode() + TOKEN, MALFORMED),
    "scheme twice": (b"Basic Basic " + TOKEN, MALFORMED),
    "bearer": (b"Bearer " + TOKEN, MALFORMED),
    "bearer alone": (b"Bearer", MALFORMED),
    "digest": (b'Digest username="x", realm="y", uri="/"', MALFORMED),
    "negotiate": (b"Negotiate YIIB", MALFORMED),
    "a scheme of four letters": (b"Hawk", MALFORMED),
    # emptiness
    "empty": (b"", MISSING),
    "spaces only": (b"  \t ", MISSING),
    # token
    "quoted token": (b'Basic "' + TOKEN + b'"', MALFORMED),
    "quoted header": (b'"Basic ' + TOKEN + b'"', MALFORMED),
    "unencoded pair": (b"Basic " + PAIR, MALFORMED),
    "unencoded pair without scheme": (PAIR, MALFORMED),
    "one padding character": (b"Basic " + SHORT, OK),
    "two padding characters": (b"Basic " + SHORTER, OK),
    "padding removed": (b"Basic " + SHORTER.rstrip(b"="), MALFORMED),
    "padding half removed": (b"Basic " + SHORTER[:-1], MALFORMED),
    "excess padding": (b"Basic " + TOKEN + b"=", MALFORMED),
    "excess padding of four": (b"Basic " + TOKEN + b"====", MALFORMED),
    "excess padding after padding": (b"Basic " + SHORT + b"=", MALFORMED),
    "padding in the middle": (b"Basic " + TOKEN[:8] + b"=" + TOKEN[8:-1], MALFORMED),
    "padding first": (b"Basic =" + TOKEN, MALFORMED),
    "padding only": (b"Basic ====", MALFORMED),
    "two tokens run together": (b"Basic " + SHORT + SHORT, MALFORMED),
    "url-safe alphabet": (b"Basic " + urlsafe_b64encode(PAIR + b"???>>>"), MALFORMED),
    "standard alphabet with both signs": (basic(PAIR + b"???>>>"), OK),
    "white space inside": (b"Basic " + TOKEN[:8] + b" " + TOKEN[8:], MALFORMED),
    "tab inside": (b"Basic " + TOKEN[:8] + b"\t" + TOKEN[8:], MALFORMED),
    "exclamation mark inside": (b"Basic " + TOKEN[:8] + b"!" + TOKEN[8:], MALFORMED),
    "non-canonical bits before one =": (b"Basic " + with_trailing_bits(SHORT), MALFORMED),
    "non-canonical bits before two =": (b"Basic " + with_trailing_bits(SHORTER), MALFORMED),
    "latin-1 byte": (b"Basic \xe9" + TOKEN, MALFORMED),
    "utf-8 letter": ("Basic é".encode() + TOKEN, MALFORMED),
    "full-width token": ("Basic \uff21\uff22\uff23\uff24".encode(), MALFORMED),
    # commas
    "two equal, joined": (b"Basic " + TOKEN + b",Basic " + TOKEN, AMBIGUOUS),
    "two equal, joined with a space": (b"Basic " + TOKEN + b", Basic " + TOKEN, AMBIGUOUS),
    "two without scheme, joined": (TOKEN + b", " + TOKEN, AMBIGUOUS),
    "no scheme, then basic": (TOKEN + b",Basic " + TOKEN, AMBIGUOUS),
    "bearer, then basic": (b"Bearer abc, Basic " + TOKEN, AMBIGUOUS),
    "digest, then basic": (b'Digest a="b",c="d", basic ' + TOKEN, AMBIGUOUS),
    "basic, then bearer": (b"Basic " + TOKEN + b", Bearer abc", AMBIGUOUS),
    "empty, then basic": (b",Basic " + TOKEN, AMBIGUOUS),
    "basic, then empty": (b"Basic " + TOKEN + b",", AMBIGUOUS),
    "comma after the scheme": (b"Basic, " + TOKEN, AMBIGUOUS),
    "comma in the token": (b"Basic " + TOKEN[:8] + b"," + TOKEN[8:], AMBIGUOUS),
    # control characters in the header
    "NUL": (b"Basic " + TOKEN + b"\x00", AMBIGUOUS),
    "0x01": (b"Basic \x01" + TOKEN, AMBIGUOUS),
    "CR": (b"Basic " + TOKEN + b"\r", AMBIGUOUS),
    "LF": (b"Basic " + TOKEN + b"\n", AMBIGUOUS),
    "CR LF and another header": (b"Basic " + TOKEN + b"\r\nX-Admin: 1", AMBIGUOUS),
    "ESC": (b"Basic \x1b[2J" + TOKEN, AMBIGUOUS),
    "DEL": (b"Basic " + TOKEN + b"\x7f", AMBIGUOUS),
    "control character in another scheme": (b"Bearer \x00", AMBIGUOUS),
    "SQL as header": (b"' OR 1=1 --", MALFORMED),
    "json as header": (b'{"pk": "a"}', MALFORMED),
}

DECODED = {
    "old groups": (f"pk_9b2f17a3-4573-4a9b-9128-53ee910ef2:{SK}", OK),
    "groups beyond hexadecimal": (f"pk_zb2f17a3-4x73-4a9b-9128-53ee910ef2:{SK}", OK),
    "64 hex digits": (f"pk_{'0af9' * 16}:{SK}", OK),
    "empty secret": (f"{PK}:", OK),
    "colons in the secret": (f"{PK}::a:b:", OK),
    "spaces around the secret": (f"{PK}: {SK} ", OK),
    "secret in utf-8": (f"{PK}:pässwörd 🔑", OK),
    "secret with bidi and zero width": (f"{PK}:\u202e\u200babc", OK),
    "secret of another shape": (f"{PK}:hunter2", OK),
    "no colon": (PK, MALFORMED),
    "colon only": (":", MALFORMED),
    "empty key": (f":{SK}", MALFORMED),
    "swapped keys": (f"{SK}:{PK}", MALFORMED),
    "upper-case prefix": (f"PK_{PK[3:]}:{SK}", MALFORMED),
    "upper-case key": (f"{PK}:{SK}".upper(), MALFORMED),
    "leading space": (f" {PK}:{SK}", MALFORMED),
    "space after the key": (f"{PK} :{SK}", MALFORMED),
    "full-width colon": (f"{PK}\uff1a{SK}", MALFORMED),
    "byte order mark": (f"\ufeff{PK}:{SK}", MALFORMED),
    "unicode digits in the key": (f"pk_١٢٣٤٥٦٧٨٩:{SK}", MALFORMED),
    "homoglyph in the key": (f"p\u043a_{PK[3:]}:{SK}", MALFORMED),
    "full-width key": (f"\uff50\uff4b_{PK[3:]}:{SK}", MALFORMED),
    "underscore in the key": (f"pk_live_{PK[3:]}:{SK}", MALFORMED),
    "key too short": (f"pk_1234567:{SK}", MALFORMED),
    "key too long": (f"pk_{'a' * 81}:{SK}", MALFORMED),
    "key of 600 characters": (f"pk_{'a' * 597}:{SK}", MALFORMED),
    "SQL as key": (f"pk_' OR '1'='1:{SK}", MALFORMED),
    "path as key": (f"pk_../../etc/passwd:{SK}", MALFORMED),
    "template as key": ("{{7*7}}${7*7}:x", MALFORMED),
    "html as key": ("<script>alert(1)</script>:x", MALFORMED),
    "json as key": ('{"pk_12345678":"x"}', MALFORMED),
    "placeholder pk_xxx": ("pk_xxx:sk_xxx", MALFORMED),
    "placeholder null": ("null:null", MALFORMED),
    "placeholder undefined": ("undefined:undefined", MALFORMED),
    "placeholder variables": ("$OCTY_PK:$OCTY_SK", MALFORMED),
    "latin-1 secret": (f"{PK}:pässword".encode("latin-1"), MALFORMED),
    "latin-1 key": (b"pk_1234567\xe9:x", MALFORMED),
    "overlong utf-8": (PK.encode() + b":\xc0\xaf", MALFORMED),
    "utf-8 surrogate": (PK.encode() + b":\xed\xa0\x80", MALFORMED),
    "random bytes with controls": (b"\x00\x9c\xff\x1b:\x01", MALFORMED),
    "utf-16": (f"{PK}:{SK}".encode("utf-16-le"), AMBIGUOUS),
    "utf-16 with mark": (f"{PK}:{SK}".encode("utf-16"), MALFORMED),
    "NUL in the key": (f"{PK}\x00:{SK}", AMBIGUOUS),
    "NUL in the secret": (f"{PK}:\x00{SK}", AMBIGUOUS),
    "newline before": (f"\n{PK}:{SK}", AMBIGUOUS),
    "newline after": (f"{PK}:{SK}\n", AMBIGUOUS),
    "CR LF after": (f"{PK}:{SK}\r\n", AMBIGUOUS),
    "tab in the secret": (f"{PK}:a\tb", AMBIGUOUS),
    "ESC in the secret": (f"{PK}:\x1b[31m", AMBIGUOUS),
    "DEL in the secret": (f"{PK}:a\x7f", AMBIGUOUS),
    "C1 control in the secret": (f"{PK}:\u009b31m", AMBIGUOUS),
    "control character in what is no pair": ("\x07", AMBIGUOUS),
}


@pytest.mark.parametrize(("value", "expected"), HEADERS.values(), ids=HEADERS)
def test_header_is_parsed_or_gives_its_outcome(value, expected):
    got = read(value)
    assert isinstance(got, Credentials) if expected is OK else got is expected


@pytest.mark.parametrize("prefix", [b"Basic ", b""], ids=["basic", "no scheme"])
@pytest.mark.parametrize(("pair", "expected"), DECODED.values(), ids=DECODED)
def test_decoded_basic_credentials_are_parsed_or_give_their_outcome(pair, expected, prefix):
    raw = pair.encode() if isinstance(pair, str) else pair
    got = read(prefix + b64encode(raw))
    if expected is OK:
        assert isinstance(got, Credentials)
        assert f"{got.public_key}:{got.secret.reveal()}" == pair
    else:
        assert got is expected


def test_no_header_is_missing():
    assert read() is MISSING


@pytest.mark.parametrize(
    "values",
    [
        (b"Basic " + TOKEN,) * 2,
        (b"Basic " + TOKEN, basic("pk_other123:x")),
        (b"Basic " + TOKEN, b"Bearer abc"),
        (TOKEN, TOKEN),
        (b"", b""),
        (b"", b"Basic " + TOKEN),
        (b"x" * 65_536,) * 3,
    ],
    ids=["equal", "different", "other scheme", "no scheme", "both empty", "one empty", "long"],
)
def test_repeated_header_is_ambiguous(values):
    assert read(*values) is AMBIGUOUS


@pytest.mark.parametrize("size", [1025, 4096, 65_536])
@pytest.mark.parametrize("fill", [b"A", b" ", b",", b"\x00", b"\xff"])
def test_header_over_the_limit_is_oversized_whatever_it_contains(size, fill):
    assert read(fill * size) is OVERSIZE


def test_header_at_the_limit_is_parsed():
    header = basic(PAIR)
    assert isinstance(read(header, limit=len(header)), Credentials)
    assert read(header, limit=len(header) - 1) is OVERSIZE


def test_schemeless_header_is_parsed_only_when_enabled():
    assert read(TOKEN, schemeless=False) is MALFORMED
    assert isinstance(read(basic(PAIR), schemeless=False), Credentials)
    assert read(b"Basic", schemeless=False) is MALFORMED
    assert read(b"", schemeless=False) is MISSING
    assert read(TOKEN + b"," + TOKEN, schemeless=False) is AMBIGUOUS


def test_oversized_header_is_not_decoded():
    header = b"Basic " + b"A" * 10_000_000
    tracemalloc.start()
    try:
        assert read(header) is OVERSIZE
        assert tracemalloc.get_traced_memory()[1] < len(header) / 10  # threads of earlier tests may allocate a little
    finally:
        tracemalloc.stop()


keys = st.from_regex(r"pk_[0-9A-Za-z-]{8,80}", fullmatch=True)
secrets = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60)


@given(keys, secrets, st.sampled_from([b"Basic ", b"basic  ", b"BASIC ", b""]))
def test_any_valid_key_pair_is_parsed_back(public_key, secret, prefix):
    got = read(prefix + b64encode(f"{public_key}:{secret}".encode()))
    assert isinstance(got, Credentials)
    assert (got.public_key, got.secret.reveal()) == (public_key, secret)
    assert is_public_key(got.public_key)


REFUSALS = {MISSING, MALFORMED, AMBIGUOUS, OVERSIZE}


@given(st.lists(st.binary(max_size=1100), max_size=3), st.booleans())
def test_any_header_bytes_parse_without_error(values, schemeless):
    got = parse_credentials(values, schemeless=schemeless)
    assert isinstance(got, Credentials) or got in REFUSALS


@given(st.binary(max_size=120), st.sampled_from([b"Basic ", b""]))
def test_any_decoded_bytes_parse_without_error_and_only_keys_pass(raw, prefix):
    got = read(prefix + b64encode(raw))
    assert is_public_key(got.public_key) if isinstance(got, Credentials) else got in REFUSALS


@given(st.binary(max_size=30), st.integers(0, len(TOKEN) + 6))
def test_each_header_without_spaces_has_its_own_key_pair(noise, at):
    """Whatever is put into a good header, the result is refused or holds another key pair."""
    header = b"Basic " + TOKEN
    changed = header[:at] + noise + header[at:]
    got = read(changed)
    if isinstance(got, Credentials) and changed.strip(b" \t").split(b" ")[-1] != TOKEN:
        assert f"{got.public_key}:{got.secret.reveal()}".encode() != PAIR


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PK, True),
        ("pk_9b2f17a3-4573-4a9b-9128-53ee910ef2", True),
        ("pk_" + "a" * 80, True),
        ("pk_" + "a" * 81, False),
        ("pk_" + "a" * 7, False),
        (PK + "\n", False),
        ("", False),
    ],
)
def test_is_public_key_accepts_both_formats_only(text, expected):
    assert is_public_key(text) is expected


def test_secret_is_not_shown_by_repr_or_str():
    got = read(basic(PAIR))
    assert isinstance(got, Credentials)
    shown = [
        repr(got),
        str(got),
        f"{got}",
        repr(got.secret),
        str(got.secret),
        f"{got.secret}",
        f"{got.secret:>60}",
    ]
    shown += ["%s %r" % (got.secret, got.secret), repr([got.secret])]  # noqa: UP031
    assert not any(SK in text for text in shown)
    assert got.secret.reveal() == SK
    assert not hasattr(got.secret, "__dict__")


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda f: f.__name__)
def test_secret_cannot_be_copied_or_pickled(take):
    with pytest.raises(TypeError, match="can't be pickled or copied"):
        take(Secret(SK))


def test_credentials_are_immutable():
    got = read(basic(PAIR))
    with pytest.raises(AttributeError):
        got.public_key = "pk_other123"
