"""Reads the files of an evidence pack. Whatever is wrong with it raises InvalidPackError, and nothing else."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octy_worker.audit.chain import Entry
from octy_worker.audit.checkpoints import verify_signature
from octy_worker.evidence.layout import (
    CHAIN,
    CHAINED,
    DETAILS,
    FILES,
    FORMAT,
    MANIFEST,
    ORDER_FIELDS,
    ORDERS,
    SIGNATURE,
)

MAX_BYTES = 2**31
"""Of all files together; the chain takes about 330 bytes an entry."""
_TYPES: Mapping[str, type] = {"seq": int, "at": int}
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError)


class InvalidPackError(Exception):
    """The pack is not what the installation made. `file`: the first one that is wrong."""

    def __init__(self, file: str, wrong: str) -> None:
        super().__init__(f"{file}: {wrong}" if file else wrong)
        self.file = file


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the installation signed. `made_at`: Unix seconds.

    `subjects`: ids of the incident, its key pairs and their replacement; the pack shows all entries about them.
    """

    installation: str
    incident: str
    made_at: int
    made_by: str
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """The files of a pack, with a right manifest."""

    manifest: Manifest
    files: Mapping[str, bytes]


def read_pack(data: bytes, keys: Mapping[str, str]) -> Pack:
    """Return the files if the manifest is signed by one of the public keys, and has their hashes."""
    files = _unzip(data)
    manifest = files[MANIFEST]
    value = _object(MANIFEST, _load(MANIFEST, manifest))
    signature = files[SIGNATURE].decode("ascii", "replace").strip()
    if not verify_signature(manifest, signature, str(value.get("key")), keys):
        raise InvalidPackError(MANIFEST, "its signature is wrong, or was made with a key that is not among the given")
    if value.get("format") != FORMAT:
        raise InvalidPackError(MANIFEST, f"its format is not {FORMAT}")
    hashes = _object(MANIFEST, value.get("files"))
    if set(hashes) != set(FILES):
        raise InvalidPackError(MANIFEST, "it does not list the files of a pack")
    for name in FILES:
        if hashlib.sha256(files[name]).hexdigest() != hashes[name]:
            raise InvalidPackError(name, "it does not have the hash of the manifest: it was changed")
    try:
        texts = (str(value["installation"]), str(value["incident"]), int(value["made_at"]), str(value["made_by"]))
        subjects = tuple(sorted({*map(str, value["subjects"]), texts[1]}))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InvalidPackError(MANIFEST, "it lacks a field") from None
    return Pack(Manifest(*texts, subjects), files)


def read_chain(pack: Pack) -> tuple[list[Entry], list[int]]:
    """Return all entries, with the details that the pack shows; and the numbers of details without an entry."""
    shown = {detail["seq"]: detail for detail in _records(DETAILS, pack, {"seq": int, "detail": str, "salt": str})}
    entries = []
    for number, line in enumerate(pack.files[CHAIN].splitlines(), start=1):
        values = _load(CHAIN, line)
        types = [_TYPES.get(name, str) for name in CHAINED]
        if not isinstance(values, list) or list(map(type, values)) != types:
            raise InvalidPackError(CHAIN, f"line {number} is not an entry")
        detail = shown.pop(values[0], {"detail": None, "salt": None})
        entries.append(Entry(*values, detail["detail"], detail["salt"]))  # type: ignore[call-arg]  # nine values
    return entries, sorted(shown)


def read_orders(pack: Pack) -> list[dict[str, Any]]:
    """Return the orders, each with all its fields."""
    return _records(ORDERS, pack, {**dict.fromkeys(ORDER_FIELDS, str), "received_at": int})


def read_timeline(name: str, pack: Pack) -> list[dict[str, Any]]:
    """Return the events of the timeline."""
    report = _object(name, _load(name, pack.files[name]))
    events = report.get("timeline")
    if not isinstance(events, list):
        raise InvalidPackError(name, "there is no timeline in it")
    return [_object(name, event) for event in events]


def _records(name: str, pack: Pack, types: Mapping[str, type]) -> list[dict[str, Any]]:
    found = _load(name, pack.files[name])
    if not isinstance(found, list):
        raise InvalidPackError(name, "it is not a list")
    for record in found:
        if not isinstance(record, dict) or any(type(record.get(key)) is not kind for key, kind in types.items()):
            raise InvalidPackError(name, "one of its records lacks a field")
    return found


def _unzip(data: bytes) -> dict[str, bytes]:
    expected = {*FILES, MANIFEST, SIGNATURE}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if sorted(names) != sorted(expected):
                raise InvalidPackError("", f"it does not have exactly the files {', '.join(sorted(expected))}")
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise InvalidPackError("", "it is larger than a pack can be")
            return {name: archive.read(name) for name in names}
    except _UNREADABLE as error:
        raise InvalidPackError("", f"it is not a ZIP file that can be read: {type(error).__name__}") from None


def _load(name: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidPackError(name, "it is not JSON") from None


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidPackError(name, "it is not a JSON object")
    return value
