"""Bytes -> text in base64, as it should not be. Here: each way to get it wrong. Not here: the header around it."""

from base64 import b16encode, b32encode, b64encode, b85encode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from random import Random

from proofs.fuzz.mutations import pick

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def armour(rng: Random, decoded: bytes) -> bytes:
    """Return anything but the one canonical base64 text, most often."""
    return pick(rng, _ARMOURS)(rng, decoded, b64encode(decoded))


def _with_trailing_bits(token: bytes) -> bytes:
    """Change the bits that padding makes meaningless: the same pair in another text."""
    body = token.rstrip(b"=")
    if len(body) == len(token):
        return token
    return body[:-1] + _BASE64[_BASE64.index(body[-1]) + 1 :][:1] + token[len(body) :]


def _sprinkled(rng: Random, _decoded: bytes, token: bytes) -> bytes:
    at = int(rng.random() * (len(token) + 1))
    signs = (b"=", b"==", b" ", b"\t", b"!", b"\n", b"-", b"_", b",", b"\xe9", b"")
    return token[:at] + pick(rng, signs) + token[at:]


def _framed(rng: Random, _decoded: bytes, token: bytes) -> bytes:
    return pick(rng, (b'"%b"', b"'%b'", b"<%b>", b"%b,", b",%b", b"=%b", b"%b;charset=utf-8")) % token


_ARMOURS: Sequence[Callable[[Random, bytes, bytes], bytes]] = (
    lambda _rng, _decoded, token: token.rstrip(b"="),
    lambda rng, _decoded, token: token + b"=" * (1 + int(rng.random() * 4)),
    lambda _rng, _decoded, token: _with_trailing_bits(token),
    lambda _rng, decoded, _token: urlsafe_b64encode(decoded + b"???>>>"),
    lambda _rng, _decoded, token: b64encode(token),
    lambda rng, decoded, _token: pick(rng, (b32encode, b16encode, b85encode))(decoded),
    lambda _rng, decoded, _token: decoded,
    _framed,
    _sprinkled,
    _sprinkled,
)
