"""Authorization headers, grown from valid ones by their own grammar, or from nothing.

Here: scheme, spaces, base64, decoded text, repetition, and the faults of each. Not here: what must come of them
(`reference`). A header is a function of the generator's random numbers and the pairs alone, so a seed names it.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from random import Random

from proofs.fuzz.armour import armour
from proofs.fuzz.mutations import mutate, noise, pick, splice
from proofs.fuzz.pairs import Pairs

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HUGE = 65_536

_SCHEMES = (
    b"basic",
    b"BASIC",
    b"bAsIc",
    b"Basic:",
    b"Basic,",
    b"Basic=",
    b"Basi",
    b"Basicc",
    b"Basic Basic",
    b"\xa0Basic",
)
_OTHERS = (b"Bearer", b"Digest", b"Negotiate", b"ApiKey", b"Token", b"AWS4-HMAC-SHA256", b"Hawk", b"b", b"0")
_LIKE_BASIC = tuple(
    text.encode() for text in ("B\u0430sic", "Ba\u017fic", "\uff22\uff41\uff53\uff49\uff43", "Bas\u0131c")
)
_GAPS = (
    b"  ",
    b"      ",
    b"",
    b"\t",
    b" \t",
    b"\t ",
    b"\xa0",
    b"\xc2\xa0",
    b"\x0b",
    b"\xe2\x80\x89",
    b"+",
    b"%20",
    b":",
    b"=",
)
_TEXTS = (
    *(
        "pk_xxx:sk_xxx",
        "null:null",
        "undefined:undefined",
        "$OCTY_PK:$OCTY_SK",
        "{{pk}}:{{sk}}",
        "pk_:sk_",
        ":",
        "::",
        "",
    ),
    *(
        "pk_' OR '1'='1:x",
        "pk_../../etc/passwd:x",
        "<script>alert(1)</script>:x",
        '{"pk": "a"}',
        "pk_12345678",
        "admin:admin",
    ),
    *(
        "pk_\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668:x",
        "p\u043a_12345678:x",
        "\ufeffpk_12345678:x",
        "pk_12345678\uff1ax",
    ),
    *(
        "\x07",
        "pk_12345678\x00:x",
        "pk_12345678:\u009b31m",
        "pk_12345678:a\x7f",
        "pk_1234567:x",
        "pk_" + "a" * 81 + ":x",
    ),
)
_JOINS = (b",", b", ", b" , ", b",\t", b";", b"\r\n", b"\n", b"\x00", b" ", b"&")


class Headers:
    """All values of one request's Authorization header, over and over."""

    def __init__(self, rng: Random, pairs: Pairs) -> None:
        self._rng = rng
        self._pairs = pairs

    def values(self) -> tuple[bytes, ...]:
        """Return the next request's values: one, sometimes none or several."""
        dice = self._rng.random()
        if dice < 0.93:
            return (self._value(),)
        if dice < 0.96:
            return ()
        first = self._value()
        second = first if dice < 0.98 else self._value()
        return (first, second) if dice < 0.995 else (first, second, self._value())

    def _value(self) -> bytes:
        dice = self._rng.random()
        if dice < 0.5:
            return self._valid()
        if dice < 0.68:
            return self._half_valid()
        if dice < 0.86:
            return mutate(self._rng, self._valid())
        return self._pick(self._STRANGE)

    def _valid(self) -> bytes:
        """A header that can be read, whatever its keys."""
        token = b64encode(self._pair())
        dice = self._rng.random()
        if dice < 0.6:
            return b"Basic " + token
        return token if dice < 0.85 else pick(self._rng, _SCHEMES[:3]) + pick(self._rng, _GAPS[:2]) + token

    def _half_valid(self) -> bytes:
        """One part of the header's grammar broken, the others whole."""
        part = int(self._rng.random() * 4)
        decoded = self._text() if part == 0 else self._pair()
        token = armour(self._rng, decoded) if part == 1 else b64encode(decoded)
        scheme = pick(self._rng, pick(self._rng, (_SCHEMES, _OTHERS, _LIKE_BASIC))) if part == 2 else b"Basic"
        return scheme + (pick(self._rng, _GAPS) if part == 3 else b" ") + token

    def _pair(self) -> bytes:
        """`pk:sk` of the right shape: live, attacked, retired or unknown, with a right or wrong secret."""
        public_key, secret = pick(self._rng, self._pairs.sent)
        dice = self._rng.random()
        if dice < 0.4:
            return f"{public_key}:{secret}".encode()
        if dice < 0.6:
            return f"{public_key}:{self._wrong(secret)}".encode()
        return f"{self._unknown(public_key)}:{secret}".encode()

    def _wrong(self, secret: str) -> str:
        rng = self._rng
        at = int(rng.random() * len(secret))
        kinds = (
            "",
            secret[:at],
            secret.upper(),
            f" {secret}",
            f"{secret} ",
            f"{secret}:",
            f"{secret}\u200b",
            secret[:at] + pick(rng, _ALPHABET) + secret[at + 1 :],
            "sk_" + "".join(rng.choices(_ALPHABET, k=8)),
        )
        return kinds[int(rng.random() * len(kinds))]

    def _unknown(self, public_key: str) -> str:
        rng = self._rng
        at = 3 + int(rng.random() * (len(public_key) - 3))
        if rng.random() < 0.85:
            return public_key[:at] + pick(rng, _ALPHABET) + public_key[at + 1 :]
        return "pk_" + "".join(rng.choices(_ALPHABET + "-", k=8 + int(rng.random() * 73)))

    def _text(self) -> bytes:
        """Decoded text that is most often no pair."""
        rng = self._rng
        dice = rng.random()
        if dice < 0.4:
            return pick(rng, _TEXTS).encode()
        if dice < 0.8:
            return mutate(rng, self._pair())
        if dice < 0.9:
            return splice(rng, self._pair(), self._pair())
        text = self._pair().decode()
        return pick(rng, (text.encode("utf-16"), text.encode("utf-16-le"), text.encode("utf-7"), noise(rng, 90)))

    def _noise(self) -> bytes:
        return noise(self._rng, 200)

    def _random_token(self) -> bytes:
        return b"Basic " + b64encode(noise(self._rng, 300))

    def _empty(self) -> bytes:
        return pick(self._rng, (b"", b" ", b"\t", b" \t ", b"Basic", b"Basic ", b"basic  ", b"Bearer", b"="))

    def _joined(self) -> bytes:
        return pick(self._rng, _JOINS).join((self._value(), self._value()))

    def _spliced(self) -> bytes:
        return splice(self._rng, self._valid(), self._valid())

    def _other_scheme(self) -> bytes:
        parameters = pick(
            self._rng, (b'username="x", realm="y"', b"abc", b"YIIB", b"", b"a, Basic " + b64encode(self._pair()))
        )
        return pick(self._rng, _OTHERS) + b" " + parameters

    def _around_the_limit(self) -> bytes:
        """A readable header of about as many bytes as may be, on one side or the other."""
        limit = pick(self._rng, self._pairs.limits)
        public_key, _ = pick(self._rng, self._pairs.sent)
        room = (limit + int(self._rng.random() * 9) - 4 - len("Basic ")) // 4 * 3 - len(public_key) - 1
        return b"Basic " + b64encode(f"{public_key}:{'x' * max(0, room)}".encode())

    def _huge(self) -> bytes:
        """Up to 64 KiB, seldom."""
        if self._rng.random() < 0.9:
            return self._around_the_limit()
        size = int(self._rng.random() * _HUGE)
        return (pick(self._rng, (b"A", b",", b" ", b"\x00", b"Basic ", b"\xff", self._valid())) * size)[:size]

    def _pick(self, kinds: Sequence[Callable[["Headers"], bytes]]) -> bytes:
        return pick(self._rng, kinds)(self)

    _STRANGE = (_noise, _random_token, _empty, _joined, _spliced, _other_scheme, _around_the_limit, _huge)
