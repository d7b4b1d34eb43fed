"""Imported hashes: every supported format, damaged ones, too expensive ones, and missing libraries."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.foreign_hashes import CRYPT, CRYPT_SECRET, FOREIGN, SECRET, long_bcrypt
from support.preloaded import Preloaded, preloaded

from octy_middleware.errors import InvalidInputError
from octy_middleware.http.credentials import Secret
from octy_middleware.keys import imported_hashes
from octy_middleware.keys.imported_hashes import verify_imported
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.native_crypt import verify_sha_crypt
from octy_middleware.keys.secret import KeyHasher, check_imported, row_binding

HASHER = KeyHasher(Keychain({"k1": bytes(32)}))
ROW = row_binding("00000000-0000-7000-8000-000000000001", "pk_00000001")
OURS = HASHER.digest(Secret("x"), ROW)


Run = Callable[[str], str]


def fits(secret: str, imported: str) -> bool:
    return HASHER.verify(Secret(secret), HASHER.seal(imported, ROW), ROW)


@pytest.mark.parametrize("name", FOREIGN)
def test_hash_of_each_library_verifies_the_right_secret_only(name: str) -> None:
    found = check_imported(f" {FOREIGN[name]}\n")
    assert fits(SECRET, found.stored)
    for wrong in (SECRET + "x", SECRET[:-1], SECRET.upper(), "", found.stored, FOREIGN[name]):
        assert not fits(wrong, found.stored)
    sealed = HASHER.seal(found.stored, ROW)
    assert HASHER.can_verify(sealed, ROW)
    assert HASHER.needs_upgrade(sealed)
    assert not HASHER.is_fast(sealed)


@pytest.mark.parametrize("name", FOREIGN)
def test_stored_form_is_kept_unchanged(name: str) -> None:
    found = check_imported(FOREIGN[name])
    assert check_imported(found.stored) == found
    assert 0 < len(found.kind) <= 32


@pytest.mark.parametrize("stored", CRYPT)
def test_sha_crypt_equals_the_c_library(stored: str) -> None:
    assert check_imported(stored).stored == stored
    assert fits(CRYPT_SECRET, stored)
    assert not fits(CRYPT_SECRET + "!", stored)


@pytest.mark.parametrize("length", [71, 72, 73, 80, 500])
def test_bcrypt_reads_72_bytes(length: int) -> None:
    secret = ("sk_" + "ä1" * length)[: length // 2] + "x" * (length - length // 2)
    stored = check_imported(long_bcrypt(secret)).stored
    assert fits(secret, stored)
    assert not fits("y" + secret[1:], stored)


def test_unused_bits_are_cleared() -> None:
    """Old libraries left them set in a salt's and a digest's last character; today's refuse or warn."""
    sound = "$2b$04$" + "." * 21 + "u" + "K" * 30 + "u"
    assert check_imported(sound).stored == sound
    assert check_imported(sound[:28] + "v" + sound[29:-1] + "v").stored == sound


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("$2b$10$" + "." * 53, "$2b$12$" + "." * 53, False),
        (f"$pbkdf2-sha256$29000$c2FsdA${'A' * 43}", f"$pbkdf2-sha256$31000$c2FsdA${'A' * 43}", True),
        (f"$pbkdf2-sha256$29000$c2FsdA${'A' * 43}", f"$pbkdf2-sha256$290000$c2FsdA${'A' * 43}", False),
        (f"$pbkdf2-sha256$29000$c2FsdA${'A' * 43}", f"pbkdf2:sha256:29000$salt${'0' * 64}", True),
    ],
)
def test_hashes_of_one_scheme_take_about_the_same_time(one: str, other: str, *, alike: bool) -> None:
    assert (check_imported(one).kind == check_imported(other).kind) is alike


# What is refused

B64 = "c2FsdHNhbHRzYWx0"
ARGON = "$argon2id$v=19$m={m},t={t},p={p}$" + f"{B64}${'A' * 43}"
HEX = "0123456789abcdef"
NOT_TAKEN = "which is not taken"
DAMAGED = "is damaged"
COSTLY = "let anybody stop the host"

REFUSED = [
    ("", "no hash that is known"),
    ("secret", "no hash that is known"),
    ("sk_" + "a" * 49, "no hash that is known"),
    ("pk_9b2f17a3-4573-4a9b-9128-53ee910ef2", "no hash that is known"),
    ("é" * 64, "no hash that is known"),
    ("٣" * 64, "no hash that is known"),
    ("a" * 63, "no hash that is known"),
    ("a" * 2001, "too long"),
    ("a" * 32, "MD5, " + NOT_TAKEN),
    ("$1$abc$def", "MD5, " + NOT_TAKEN),
    ("$apr1$abc$def", "MD5, " + NOT_TAKEN),
    ("a" * 56, "SHA-224"),
    ("a" * 96, "SHA-384"),
    ("sha1$salt$" + HEX, "one round"),
    ("{SSHA}abcd", "one round"),
    ("$2x$04$" + "." * 53, "faulty bcrypt"),
    ("$2$04$" + "." * 53, "faulty bcrypt"),
    ("$7$C6..../....SodiumChloride$x", "yescrypt"),
    ("$P$Babcdef", "phpass"),
    ("!", "without a secret"),
    ("$2b$12$" + "." * 52, DAMAGED),
    ("$2b$12$" + "." * 54, DAMAGED),
    ("$2b$12$" + "." * 52 + "é", DAMAGED),
    ("$2b$3$" + "." * 53, DAMAGED),
    ("$2b$03$" + "." * 53, DAMAGED),
    ("$2b$17$" + "." * 53, COSTLY),
    ("$2b$31$" + "." * 53, COSTLY),
    ("bcrypt_sha256$$2b$31$" + "." * 53, COSTLY),
    ("$bcrypt-sha256$v=2,t=2b,r=31$" + "." * 22 + "$" + "." * 31, COSTLY),
    ("$bcrypt-sha256$v=3,t=2b,r=4$" + "." * 22 + "$" + "." * 31, DAMAGED),
    (ARGON.format(m=65536, t=3, p=4)[:-1], DAMAGED),
    (ARGON.format(m=65536, t=3, p=4)[:-20] + "!" * 20, DAMAGED),
    (ARGON.format(m=65536, t=3, p=4)[:-30], DAMAGED),
    (ARGON.format(m=65536, t=0, p=4), DAMAGED),
    (ARGON.format(m=16, t=1, p=4), DAMAGED),
    (ARGON.format(m="", t=1, p=1), DAMAGED),
    (ARGON.format(m="08", t=1, p=1), DAMAGED),
    (ARGON.format(m="٨", t=1, p=1), DAMAGED),
    (ARGON.format(m=64, t=1, p=1).replace("v=19", "v=99"), DAMAGED),
    (ARGON.format(m=64, t=1, p=1).replace("p=1", "p=1,keyid=abc"), DAMAGED),
    (ARGON.format(m=64, t=1, p=1).replace("p=1", "p=1,data=abcd"), DAMAGED),
    (ARGON.format(m=64, t=1, p=1).replace(f"${B64}", "$YWJj"), DAMAGED),
    (ARGON.format(m=2**20 + 1, t=1, p=1), COSTLY),
    (ARGON.format(m=2**20, t=5, p=1), COSTLY),
    (ARGON.format(m=64, t=2**31, p=1), COSTLY),
    (ARGON.format(m=2**19, t=1, p=65), COSTLY),
    (f"$scrypt$ln=21,r=8,p=1${B64}${'A' * 43}", COSTLY),
    (f"$scrypt$ln=9999999999,r=8,p=1${B64}${'A' * 43}", COSTLY),
    (f"$scrypt$ln=20,r=8,p=2${B64}${'A' * 43}", COSTLY),
    (f"$scrypt$ln=1,r=9999999999,p=1${B64}${'A' * 43}", COSTLY),
    (f"$scrypt$ln=0,r=8,p=1${B64}${'A' * 43}", DAMAGED),
    (f"$scrypt$ln=4,r=8,p=1${B64}${'A' * 20}", DAMAGED),
    (f"$scrypt$ln=4,r=8${B64}${'A' * 43}", DAMAGED),
    (f"scrypt:1000:8:1$salt${'0' * 128}", DAMAGED),
    (f"scrypt:1024:8:1$salt${'0' * 127}", DAMAGED),
    (f"scrypt:{2**30}:8:1$salt${'0' * 128}", COSTLY),
    (f"scrypt$16$salt$8$1${'A' * 10}", DAMAGED),
    (f"$pbkdf2-sha256$5000001$c2FsdA${'A' * 43}", COSTLY),
    (f"$pbkdf2-sha256$0$c2FsdA${'A' * 43}", DAMAGED),
    (f"$pbkdf2-sha256$10$c2FsdA${'A' * 42}", DAMAGED),
    (f"$pbkdf2-sha512$10$c2FsdA${'A' * 43}", DAMAGED),
    (f"$pbkdf2-sha256$10$c2FsdA${'A' * 42}B", DAMAGED),  # bits behind the last byte
    (f"pbkdf2_sha256$9999999999$salt${'A' * 43}=", COSTLY),
    (f"pbkdf2:sha256:10$sal$t${'0' * 64}", DAMAGED),
    (f"pbkdf2:md5:10$salt${'0' * 32}", "no hash that is known"),
    (f"$5$rounds=999$salt${'.' * 43}", DAMAGED),
    (f"$6$rounds=2000001$salt${'.' * 86}", COSTLY),
    (f"$6$salt${'.' * 43}", DAMAGED),
    (OURS, "an $octy-b2$ digest belongs to its row"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[text[:40] for text, _ in REFUSED])
def test_rejected_hash_is_explained_and_not_shown(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(said)) as raised:
        check_imported(text)
    assert len(text) < 8 or text[-8:] not in str(raised.value)
    assert not fits("x", text)
    assert not HASHER.can_verify(HASHER.seal(text, ROW), ROW)


def test_most_expensive_allowed_parameters_are_accepted() -> None:
    for text in (
        ARGON.format(m=2**20, t=4, p=1),
        "$2b$16$" + "." * 53,
        f"$scrypt$ln=20,r=8,p=1${B64}${'A' * 43}",
        f"$pbkdf2-sha256$5000000$c2FsdA${'A' * 43}",
        f"$6$rounds=2000000$salt${'.' * 86}",
    ):
        assert check_imported(text).stored == text


PIECES = ["$argon2id$", "v=19$", "m=64,t=1,p=1", "$2b$", "04$", "$scrypt$", "ln=4,r=8,p=1", "$pbkdf2-sha256$", "10"]
PIECES += [
    "bcrypt$",
    "argon2",
    "pbkdf2_sha1$",
    "scrypt$",
    "scrypt:",
    "$5$",
    "rounds=1000$",
    "$octy-b2$",
    "k1",
    "$",
    "=",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from([*PIECES, "AAAAAAAAAAAAAAAA", "." * 22, "é", "\n"])).map("".join)))
@example("$argon2id$\ud800")
@example("$5$rounds=")
def test_any_text_is_rejected_without_another_error(text: str) -> None:
    try:
        found = check_imported(text)
    except InvalidInputError:
        assert not HASHER.can_verify(HASHER.seal(text, ROW), ROW)
        assert not fits("x", text)
        assert not HASHER.verify(Secret("x"), text, ROW)
    else:
        assert check_imported(found.stored) == found


@given(st.sampled_from(sorted(FOREIGN)), st.integers(0, 200), st.characters())
def test_damaged_hash_is_rejected_or_verifies_another_secret(name: str, place: int, other: str) -> None:
    text = FOREIGN[name]
    damaged = text[: place % len(text)] + other + text[place % len(text) + 1 :]
    with suppress(InvalidInputError):
        found = check_imported(damaged)
        assert check_imported(found.stored) == found


@pytest.mark.parametrize("stored", CRYPT)
@pytest.mark.parametrize("secret", [CRYPT_SECRET, CRYPT_SECRET + "!", "", "x" * 600, "a\0b", "ä"])
def test_c_library_and_passlib_agree_on_sha_crypt(stored: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    native = verify_imported(HASHER.context, secret, stored)
    monkeypatch.setattr(imported_hashes, "verify_sha_crypt", lambda *_: None)
    assert verify_imported(HASHER.context, secret, stored) is native is (secret == CRYPT_SECRET)


def test_sha_crypt_releases_the_gil() -> None:
    """Whole hashes are computed without the lock: another thread counts on as if there were none."""
    costly = "$6$rounds=200000$saltstring$" + "." * 86
    done, count = threading.Event(), 0

    def hashing() -> None:
        for _ in range(3):
            assert verify_sha_crypt("x", costly) is False
        done.set()

    waited = []
    threading.Thread(target=hashing).start()
    while not done.is_set():
        before = time.perf_counter()
        time.sleep(0.0005)
        waited.append(time.perf_counter() - before)
        count += 1
    assert count > 20
    assert sorted(waited)[len(waited) // 2] < 0.005  # a thread that holds the lock keeps it for 5 ms


# Hosts that lack something


@pytest.fixture(scope="module")
def process() -> Iterator[Preloaded]:
    """Yield a process that has imported our modules, and none of the libraries that they import when they need them."""
    with preloaded("octy_middleware.keys.secret", options=("-W", "error")) as process:
        yield process


@pytest.fixture
def run(process: Preloaded, tmp_path: Path) -> Run:
    """Return what runs code in a fork of the process, and returns its output."""

    def run(code: str) -> str:
        (tmp_path / "program.py").write_text(code)
        exit_code, told = process.run(tmp_path, ["program.py"], os.environ)
        assert exit_code == 0, told
        return told

    return run


WITHOUT = """
import sys
sys.modules.update({{{name!r}: None}})
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import KeyHasher
from octy_middleware.keys.secret import check_imported
hasher, stored = KeyHasher(Keychain.generate()), {stored!r}
sealed = hasher.seal(stored, b"")
for _ in range(2):
    print(hasher.verify(Secret({secret!r}), sealed, b""), hasher.can_verify(sealed, b""))
    try:
        check_imported(stored)
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("name", "package", "form"),
    [
        ("argon2", "argon2-cffi", "argon2id"),
        ("bcrypt", "bcrypt", "bcrypt 2b"),
        ("bcrypt", "bcrypt", "bcrypt_sha256"),
        ("bcrypt", "bcrypt", "Django bcrypt_sha256"),
    ],
)
def test_missing_library_raises_an_error_that_says_what_to_install(
    run: Run, name: str, package: str, form: str
) -> None:
    said = run(WITHOUT.format(name=name, stored=check_imported(FOREIGN[form]).stored, secret=SECRET)).splitlines()
    refusal = f"InvalidInputError the package {package} is missing → pip install 'octy-middleware[imports]'"
    assert said == ["False False", refusal] * 2


@pytest.mark.parametrize("form", ["scrypt", "pbkdf2_sha256", "sha512_crypt", "SHA-256"])
def test_other_schemes_need_no_library(run: Run, form: str) -> None:
    stored = check_imported(FOREIGN[form]).stored
    said = run(WITHOUT.format(name="argon2", stored=stored, secret=SECRET).replace("None}", "None, 'bcrypt': None}"))
    assert said.splitlines() == ["True True"] * 2


TOO_LITTLE = """
import resource
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import KeyHasher
from octy_middleware.keys.secret import check_imported
hasher, stored = KeyHasher(Keychain.generate()), {stored!r}
check_imported(stored)
resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20,) * 2)
try:
    print(hasher.verify(Secret("x"), hasher.seal(stored, b""), b""))
except MemoryError as error:
    print(error, error.__cause__, error.__suppress_context__)
"""


@pytest.mark.parametrize(
    ("stored", "scheme"),
    [(ARGON.format(m=2**20, t=1, p=1), "argon2"), (f"$scrypt$ln=20,r=8,p=1${B64}${'A' * 43}", "scrypt")],
)
def test_too_little_memory_is_not_a_wrong_secret(run: Run, stored: str, scheme: str) -> None:
    said = run(TOO_LITTLE.format(stored=stored))
    assert said == f"a sound {scheme} hash could not be computed: ValueError None True\n"


AT_ONCE = """
import sys, threading
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import KeyHasher
sys.setswitchinterval(1e-6)
hasher, start, found = KeyHasher(Keychain.generate()), threading.Barrier(8), []
sealed = hasher.seal({stored!r}, b"")
def first():
    start.wait()
    found.append(hasher.verify(Secret({secret!r}), sealed, b""))
threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(found)
"""


@pytest.mark.parametrize("form", ["argon2id", "bcrypt 2b", "Django bcrypt_sha256"])
def test_concurrent_first_verifications_succeed(run: Run, form: str) -> None:
    stored = check_imported(FOREIGN[form]).stored
    assert run(AT_ONCE.format(secret=SECRET, stored=stored)) == f"{[True] * 8}\n"
