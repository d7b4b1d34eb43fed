"""Hashes of one secret as other systems store them, made by their own libraries at the least cost. No tests."""

import hashlib
from types import MappingProxyType

import argon2
import bcrypt
from django.contrib.auth import hashers
from passlib import hash as passlib
from werkzeug.security import generate_password_hash

SECRET = "sk_Ängström-4711-of-an-old-system"
CRYPT_SECRET = "Hello world!"
SALT = "Salt0123456789abcdefgh"


def _argon2(kind: str) -> str:
    made = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=2, type=argon2.Type[kind])
    return made.hash(SECRET)


def _bcrypt(ident: str, secret: str = SECRET) -> str:
    prefix = b"2b" if ident == "2y" else ident.encode()
    made = bcrypt.hashpw(secret.encode()[:72], bcrypt.gensalt(4, prefix)).decode()
    return made.replace("$2b$", f"${ident}$")


def _django(name: str, **costs: int) -> str:
    hasher = getattr(hashers, name)()
    for attribute, value in costs.items():
        setattr(hasher, attribute, value)
    return hasher.encode(SECRET, hasher.salt() if "BCrypt" in name else SALT)


def _argon2_of_version_16() -> str:
    raw = {"time_cost": 1, "memory_cost": 64, "parallelism": 1, "hash_len": 32, "type": argon2.Type.I, "version": 16}
    return argon2.low_level.hash_secret(SECRET.encode(), SALT.encode(), **raw).decode()


_BYTES = SECRET.encode()
FOREIGN = MappingProxyType(
    {
        "argon2id": _argon2("ID"),
        "argon2i": _argon2("I"),
        "argon2d": _argon2("D"),
        "argon2i v16": _argon2_of_version_16(),
        "argon2i without a version": _argon2_of_version_16().replace("v=16$", ""),
        "bcrypt 2a": _bcrypt("2a"),
        "bcrypt 2b": _bcrypt("2b"),
        "bcrypt 2y": _bcrypt("2y"),
        "bcrypt_sha256": passlib.bcrypt_sha256.using(rounds=4).hash(SECRET),
        "bcrypt_sha256 v1": passlib.bcrypt_sha256.using(rounds=4, version=1).hash(SECRET),
        "scrypt": passlib.scrypt.using(rounds=4).hash(SECRET),
        "pbkdf2_sha1": passlib.pbkdf2_sha1.using(rounds=10).hash(SECRET),
        "pbkdf2_sha256": passlib.pbkdf2_sha256.using(rounds=10).hash(SECRET),
        "pbkdf2_sha512": passlib.pbkdf2_sha512.using(rounds=10).hash(SECRET),
        "sha256_crypt": passlib.sha256_crypt.using(rounds=1000).hash(SECRET),
        "sha512_crypt": passlib.sha512_crypt.using(rounds=5000).hash(SECRET),
        "Django argon2": _django("Argon2PasswordHasher", memory_cost=64, time_cost=1),
        "Django bcrypt": _django("BCryptPasswordHasher", rounds=4),
        "Django bcrypt_sha256": _django("BCryptSHA256PasswordHasher", rounds=4),
        "Django pbkdf2": _django("PBKDF2PasswordHasher", iterations=10),
        "Django pbkdf2_sha1": _django("PBKDF2SHA1PasswordHasher", iterations=10),
        "Django scrypt": _django("ScryptPasswordHasher", work_factor=16),
        "Werkzeug scrypt": generate_password_hash(SECRET, "scrypt:1024:8:1"),
        "Werkzeug pbkdf2 sha1": generate_password_hash(SECRET, "pbkdf2:sha1:10"),
        "Werkzeug pbkdf2 sha256": generate_password_hash(SECRET, "pbkdf2:sha256:10"),
        "Werkzeug pbkdf2 sha512": generate_password_hash(SECRET, "pbkdf2:sha512:10"),
        "SHA-1": hashlib.sha1(_BYTES).hexdigest(),
        "SHA-256": hashlib.sha256(_BYTES).hexdigest(),
        "SHA-512 in capitals": hashlib.sha512(_BYTES).hexdigest().upper(),
    }
)
CRYPT = (  # as glibc and OpenSSL agree, of the secret and salts that the authors of SHA-crypt give
    "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
)


def long_bcrypt(secret: str) -> str:
    """Return what a host stored whose bcrypt cut secrets at 72 bytes silently, as all did before version 5."""
    return _bcrypt("2b", secret)
