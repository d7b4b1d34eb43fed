"""Cases of the Authorization header: what clients and attackers may send, as bytes of real requests."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator

from support.world import basic

from proofs.conformance.accounts import UNKNOWN, KeyPairs
from proofs.conformance.cases import NOTHING, Case, case, http
from proofs.conformance.response_text import AMBIGUOUS, INVALID, MALFORMED, MISSING, OVERSIZE, SERVER, WHO

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_RECORDED = {
    WHO: "accepted",
    MISSING: "missing",
    MALFORMED: "malformed",
    AMBIGUOUS: "ambiguous",
    OVERSIZE: "oversize",
    MISSING + " as problem": "missing",
}


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    for name, value, outcome in _keys(key_pairs):
        response = WHO if outcome == "accepted" else INVALID
        yield case("keys", name, http(b"Authorization: " + value.encode()), response, outcome)
    for group, rows in (("header", _headers(key_pairs)), ("decoded text", _decoded(key_pairs))):
        for name, (value, response) in rows.items():
            yield case(group, name, http(b"Authorization: " + value), response, _RECORDED[response])
    for name, (lines, response) in _lines(key_pairs).items():
        yield case("header lines", name, http(*lines), response, _RECORDED[response])
    for name, lines in _broken(key_pairs).items():
        yield case("broken lines", name, http(*lines), SERVER, NOTHING)


def _keys(key_pairs: KeyPairs) -> Iterator[tuple[str, str, str]]:
    right, old = key_pairs.right, key_pairs.retired
    yield "right key pair", right.basic(), "accepted"
    yield "wrong secret", right.basic("sk_wrong"), "wrong_secret"
    yield "empty secret", right.basic(""), "wrong_secret"
    yield "secret in upper case", right.basic(right.secret.upper()), "wrong_secret"
    yield "secret with a space after it", right.basic(right.secret + " "), "wrong_secret"
    yield "secret with a colon after it", right.basic(right.secret + ":"), "wrong_secret"
    yield "secret with zero width and bidi signs", right.basic("\u200b\u202e" + right.secret), "wrong_secret"
    yield "another account's secret", right.basic(old.secret), "wrong_secret"
    yield "unknown key", basic(UNKNOWN, right.secret), "unknown_key"
    yield "unknown key of 80 characters", basic("pk_" + "a" * 80, "x"), "unknown_key"
    yield "unknown key of the old shape", basic("pk_9b2f17a3-4573-4a9b-9128-53ee910ef2", "x"), "unknown_key"
    yield "unknown key of 64 hex digits", basic("pk_" + "0af9" * 16, "x"), "unknown_key"
    yield "retired key pair", old.basic(), "retired"
    yield "retired key, wrong secret", old.basic("sk_wrong"), "retired_wrong"
    yield "the neighbour's key pair", key_pairs.neighbour.basic(), "unknown_key"


def _headers(key_pairs: KeyPairs) -> dict[str, tuple[bytes, str]]:
    token, pair = key_pairs.token, key_pairs.pair
    padded, twice = b64encode(pair[:-1]), b64encode(pair[:-2])  # a wrong secret that ends in "=", in "=="
    return {
        "scheme in lower case": (b"basic " + token, WHO),
        "scheme in upper case": (b"BASIC " + token, WHO),
        "scheme in mixed case": (b"bAsIc " + token, WHO),
        "no scheme": (token, WHO),
        "extra spaces between": (b"Basic    " + token, WHO),
        "spaces and tabs around": (b" \tBasic " + token + b"\t ", WHO),
        "scheme alone": (b"Basic", MALFORMED),
        "scheme and a space": (b"Basic ", MALFORMED),
        "no space": (b"Basic" + token, MALFORMED),
        "colon after the scheme": (b"Basic: " + token, MALFORMED),
        "tab after the scheme": (b"Basic\t" + token, MALFORMED),
        "latin-1 NBSP after the scheme": (b"Basic\xa0" + token, MALFORMED),
        "utf-8 NBSP after the scheme": (b"Basic\xc2\xa0" + token, MALFORMED),
        "look-alike letter in the scheme": ("B\u0430sic ".encode() + token, MALFORMED),
        "scheme twice": (b"Basic Basic " + token, MALFORMED),
        "bearer": (b"Bearer " + token, MALFORMED),
        "digest": (b'Digest username="x", realm="y", uri="/"', MALFORMED),
        "negotiate": (b"Negotiate YIIB", MALFORMED),
        "empty": (b"", MISSING),
        "spaces only": (b"  \t ", MISSING),
        "quoted token": (b'Basic "' + token + b'"', MALFORMED),
        "quoted header": (b'"Basic ' + token + b'"', MALFORMED),
        "unencoded pair": (b"Basic " + pair, MALFORMED),
        "unencoded pair without scheme": (pair, MALFORMED),
        "padding removed": (b"Basic " + twice.rstrip(b"="), MALFORMED),
        "padding half removed": (b"Basic " + twice[:-1], MALFORMED),
        "excess padding": (b"Basic " + token + b"=", MALFORMED),
        "excess padding of four": (b"Basic " + token + b"====", MALFORMED),
        "padding in the middle": (b"Basic " + token[:8] + b"=" + token[8:], MALFORMED),
        "padding first": (b"Basic =" + token, MALFORMED),
        "padding only": (b"Basic ====", MALFORMED),
        "two tokens run together": (b"Basic " + padded + padded, MALFORMED),
        "url-safe alphabet": (b"Basic " + urlsafe_b64encode(pair + b"???>>>"), MALFORMED),
        "space inside": (b"Basic " + token[:8] + b" " + token[8:], MALFORMED),
        "tab inside": (b"Basic " + token[:8] + b"\t" + token[8:], MALFORMED),
        "exclamation mark inside": (b"Basic " + token[:8] + b"!" + token[8:], MALFORMED),
        "trailing bits before one =": (b"Basic " + with_trailing_bits(padded), MALFORMED),
        "trailing bits before two =": (b"Basic " + with_trailing_bits(twice), MALFORMED),
        "latin-1 byte": (b"Basic \xe9" + token, MALFORMED),
        "utf-8 letter": ("Basic é".encode() + token, MALFORMED),
        "full-width token": ("Basic \uff21\uff22\uff23\uff24".encode(), MALFORMED),
        "two equal, joined": (b"Basic " + token + b",Basic " + token, AMBIGUOUS),
        "two without scheme, joined": (token + b", " + token, AMBIGUOUS),
        "bearer, then basic, joined": (b"Bearer abc, Basic " + token, AMBIGUOUS),
        "basic, then bearer, joined": (b"Basic " + token + b", Bearer abc", AMBIGUOUS),
        "empty, then basic, joined": (b",Basic " + token, AMBIGUOUS),
        "basic, then empty, joined": (b"Basic " + token + b",", AMBIGUOUS),
        "comma in the token": (b"Basic " + token[:8] + b"," + token[8:], AMBIGUOUS),
        "0x01": (b"Basic \x01" + token, AMBIGUOUS),
        "ESC": (b"Basic \x1b[2J" + token, AMBIGUOUS),
        "DEL": (b"Basic " + token + b"\x7f", AMBIGUOUS),
        "SQL as header": (b"' OR 1=1 --", MALFORMED),
        "json as header": (b'{"pk": "a"}', MALFORMED),
        "1024 characters": (b"x" * 1024, MALFORMED),
        "1025 characters": (b"x" * 1025, OVERSIZE),
        "1025 spaces before the right key pair": (b"Basic" + b" " * 1025 + token, OVERSIZE),
        "4 KiB": (b"Basic " + b"A" * 4096, OVERSIZE),
        "16 KiB": (b"Basic " + b"A" * 16_384, OVERSIZE),
        "64 KiB": (b"Basic " + b"A" * 65_536, OVERSIZE),
    }


def _decoded(key_pairs: KeyPairs) -> dict[str, tuple[bytes, str]]:
    key, secret = key_pairs.right.public_key, key_pairs.right.secret
    texts: dict[str, tuple[str | bytes, str]] = {
        "no colon": (key, MALFORMED),
        "colon only": (":", MALFORMED),
        "empty key": (f":{secret}", MALFORMED),
        "swapped keys": (f"{secret}:{key}", MALFORMED),
        "key in upper case": (f"{key.upper()}:{secret}", MALFORMED),
        "leading space": (f" {key}:{secret}", MALFORMED),
        "space after the key": (f"{key} :{secret}", MALFORMED),
        "full-width colon": (f"{key}\uff1a{secret}", MALFORMED),
        "byte order mark": (f"\ufeff{key}:{secret}", MALFORMED),
        "unicode digits in the key": (f"pk_١٢٣٤٥٦٧٨٩:{secret}", MALFORMED),
        "homoglyph in the key": (f"p\u043a_{key[3:]}:{secret}", MALFORMED),
        "full-width key": (f"\uff50\uff4b_{key[3:]}:{secret}", MALFORMED),
        "key too short": (f"pk_1234567:{secret}", MALFORMED),
        "key too long": (f"pk_{'a' * 81}:{secret}", MALFORMED),
        "key of 600 characters": (f"pk_{'a' * 597}:{secret}", MALFORMED),
        "SQL as key": (f"pk_' OR '1'='1:{secret}", MALFORMED),
        "path as key": (f"pk_../../etc/passwd:{secret}", MALFORMED),
        "template as key": ("{{7*7}}${7*7}:x", MALFORMED),
        "html as key": ("<script>alert(1)</script>:x", MALFORMED),
        "json as key": ('{"pk_12345678":"x"}', MALFORMED),
        "placeholder pk_xxx": ("pk_xxx:sk_xxx", MALFORMED),
        "placeholder null": ("null:null", MALFORMED),
        "placeholder undefined": ("undefined:undefined", MALFORMED),
        "placeholder variables": ("$OCTY_PK:$OCTY_SK", MALFORMED),
        "latin-1 secret": (f"{key}:pässword".encode("latin-1"), MALFORMED),
        "overlong utf-8": (key.encode() + b":\xc0\xaf", MALFORMED),
        "utf-8 surrogate": (key.encode() + b":\xed\xa0\x80", MALFORMED),
        "utf-16": (f"{key}:{secret}".encode("utf-16-le"), AMBIGUOUS),
        "NUL in the key": (f"{key}\x00:{secret}", AMBIGUOUS),
        "NUL after the secret": (f"{key}:{secret}\x00", AMBIGUOUS),
        "newline before": (f"\n{key}:{secret}", AMBIGUOUS),
        "newline after": (f"{key}:{secret}\n", AMBIGUOUS),
        "CR LF after": (f"{key}:{secret}\r\n", AMBIGUOUS),
        "tab in the secret": (f"{key}:a\tb", AMBIGUOUS),
        "ESC in the secret": (f"{key}:\x1b[31m", AMBIGUOUS),
        "DEL in the secret": (f"{key}:a\x7f", AMBIGUOUS),
        "C1 control in the secret": (f"{key}:\u009b31m", AMBIGUOUS),
    }
    return {
        name: (b"Basic " + b64encode(text.encode() if isinstance(text, str) else text), response)
        for name, (text, response) in texts.items()
    }


def _lines(key_pairs: KeyPairs) -> dict[str, tuple[tuple[bytes, ...], str]]:
    right, token = key_pairs.basic, key_pairs.token
    wrong = key_pairs.wrong
    return {
        "no header": ((), MISSING),
        "two equal lines": ((right, right), AMBIGUOUS),
        "right, then wrong": ((right, wrong), AMBIGUOUS),
        "wrong, then right": ((wrong, right), AMBIGUOUS),
        "right, then empty": ((right, b"Authorization:"), AMBIGUOUS),
        "empty, then right": ((b"Authorization:", right), AMBIGUOUS),
        "two empty lines": ((b"Authorization:", b"Authorization:"), AMBIGUOUS),
        "bearer, then right": ((b"Authorization: Bearer abc", right), AMBIGUOUS),
        "two lines, names in different case": ((right, b"aUTHORIZATION: Basic " + token), AMBIGUOUS),
        "name in lower case": ((b"authorization: Basic " + token,), WHO),
        "name in upper case": ((b"AUTHORIZATION: Basic " + token,), WHO),
        "no space after the colon": ((b"Authorization:Basic " + token,), WHO),
        "underscore after the name": ((b"Authorization_: Basic " + token,), MISSING),
        "name of the WSGI variable": ((b"HTTP_AUTHORIZATION: Basic " + token,), MISSING),
        "proxy-authorization": ((b"Proxy-Authorization: Basic " + token,), MISSING),
        "x-authorization": ((b"X-Authorization: Basic " + token,), MISSING),
        "right key pair in the address": ((b"Referer: https://" + key_pairs.pair + b"@api.example/who",), MISSING),
        "remote user": ((b"Remote-User: acme", b"X-Remote-User: acme", b"REMOTE_USER: acme"), MISSING),
        "accepts problem+json": ((b"Accept: application/problem+json",), MISSING + " as problem"),
        "accepts anything": ((b"Accept: */*",), MISSING),
    }


def _broken(key_pairs: KeyPairs) -> dict[str, tuple[bytes, ...]]:
    """Return lines that RFC 9110 5.5 and RFC 9112 5 forbid: a server should not even ask an app."""
    right, token = key_pairs.basic, key_pairs.token
    return {
        "NUL": (right + b"\x00",),
        "NUL in another header": (b"X-First: \x00", right),
        "CR": (b"Authorization: Basic\r " + token,),
        "CR and another header": (b"X-First: 1\rX-Second: 2",),
        "LF and another header": (b"X-First: 1\n" + right,),
        "folded line": (b"Authorization: Basic\r\n " + token,),
        "folded line with nothing before": (b"Authorization:\r\n Basic " + token,),
        "header folded into another": (b"X-First: 1", b" " + right),
        "space before the colon": (b"Authorization : Basic " + token,),
        "NUL in the name": (b"Authorization\x00: Basic " + token,),
        "no colon": (b"Authorization Basic " + token,),
        "no name": (b": Basic " + token,),
    }


def with_trailing_bits(token: bytes) -> bytes:
    """Change the bits that padding makes meaningless: the same pair in another text."""
    body = token.rstrip(b"=")
    return body[:-1] + _ALPHABET[_ALPHABET.index(body[-1]) + 1 :][:1] + token[len(body) :]
