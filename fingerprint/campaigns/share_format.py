"""What both sides of sharing know: names and limits of a bundle, the key and what is keyed with it, checks of fields.

Case files can be keyed as well (``keyed_case``). Left out: writing a bundle (share), reading and matching one (match).
"""

import dataclasses
import hmac
import os
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from fingerprint.campaigns.cases import Case
from fingerprint.errors import FingerprintError

__all__ = [
    "BUNDLE_BYTES",
    "DEPTH",
    "EXTENSION",
    "KEY_BYTES",
    "NAME",
    "OBJECTS",
    "PARTS",
    "SCHEMA",
    "SPACE",
    "TLP",
    "TRAFFIC",
    "VALID_DAYS",
    "ShareError",
    "aware",
    "between",
    "bucket",
    "check_key",
    "check_tag",
    "form_signature",
    "get",
    "is_name",
    "keyed",
    "keyed_case",
    "matching",
    "read_key",
]

SCHEMA: Final = "fingerprint-share/1"
PARTS: Final = ("head", "tail")
TLP: Final = {  # TLP 2.0: the ids that OASIS gives its five markings
    "clear": "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
    "green": "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    "amber": "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    "amber+strict": "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
    "red": "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
}
TRAFFIC: Final = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
KEY_BYTES: Final = 16  # of the shortest key, and of a signature
BUNDLE_BYTES: Final = 1 << 20
OBJECTS: Final = 1000
DEPTH: Final = 12
VALID_DAYS: Final = 366

SPACE: Final = uuid.UUID("5b0c2d5e-6d0b-4d3e-9a53-3f4d1c1f7a86")  # of this module's UUIDv5
EXTENSION: Final = f"extension-definition--{uuid.uuid5(SPACE, SCHEMA)}"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_T = TypeVar("_T")


class ShareError(FingerprintError, ValueError):
    """A case cannot be shared, a bundle cannot be trusted, or a key does not fit."""


def keyed(key: bytes, label: bytes, message: bytes = b"") -> bytes:
    """The first 16 bytes of HMAC-SHA256(key, label + message); no label begins another."""
    return hmac.digest(key, label + message, "sha256")[:KEY_BYTES]


def check_tag(key: bytes) -> bytes:
    return keyed(key, f"check {SCHEMA}".encode())


def form_signature(key: bytes, part: str, digits: str) -> bytes:
    """What is shared of a form, of its hash in hexadecimal digits."""
    return keyed(key, part.encode(), bytes.fromhex(digits))


def keyed_case(case: Case, key: bytes) -> Case:
    """The case with signatures in place of hashes of forms, so that nobody without the key can try guesses.

    It can be shared with holders of this key alone, for a signature cannot be turned back.
    """
    check_key(key)
    forms = [dataclasses.replace(form, hash=form_signature(key, form.part, form.hash).hex()) for form in case.forms]
    forms.sort(key=lambda form: (-form.accounts, form.part, form.hash))  # nor does their order tell of the hashes
    return dataclasses.replace(case, forms=forms, keyed=check_tag(key).hex())


def check_key(key: bytes) -> None:
    if len(key) < KEY_BYTES:
        raise ShareError(f"expected a key of at least {KEY_BYTES} bytes, got {len(key)}")


def aware(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ShareError("expected `now` with a time zone, got none")
    return now.astimezone(UTC).replace(microsecond=0)


def read_key(source: str | Path) -> bytes:
    """The key of a sharing group, from a file or, as ``env:NAME``, from an environment variable.

    White space around it is dropped. What consists of hex digits only is hex, all else is the key itself. Raises
    ``ShareError`` if there is none, or fewer than 16 bytes; the message never holds the key.
    """
    name = str(source)
    if name.startswith("env:"):
        if (text := os.environ.get(name[4:])) is None:
            raise ShareError(f"expected the key in the environment variable {name[4:]}, it is not set")
        found = text.encode("utf-8", "surrogateescape").strip()
    else:
        try:
            with Path(source).open("rb") as file:
                found = file.read(4097).strip()
        except (OSError, ValueError) as error:
            raise ShareError(f"{name}: cannot read the key ({getattr(error, 'strerror', error)})") from None
    if len(found) > 4096:
        raise ShareError(f"{name}: expected a key of at most 4096 bytes, got more")
    if re.fullmatch(rb"[0-9a-fA-F]+", found):
        if len(found) % 2:
            raise ShareError(f"{name}: expected an even number of hex digits, got {len(found)}")
        found = bytes.fromhex(found.decode())
    if len(found) < KEY_BYTES:
        raise ShareError(f"{name}: expected a key of at least {KEY_BYTES} bytes, got {len(found)}")
    return found


def get(table: Mapping[str, Any], field: str, kind: type[_T], where: str) -> _T:
    """The field, which must be of exactly this type (an int is also a float, a bool is neither)."""
    value = table.get(field)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ShareError(f"{where}: expected {kind.__name__} as {field}, got {type(value).__name__}")
    return value


def between(table: Mapping[str, Any], field: str, kind: type[_T], low: float, high: float, where: str) -> _T:
    value: Any = get(table, field, kind, where)
    if not low <= value <= high:
        raise ShareError(f"{where}: expected {field} of {low:g} to {high:g}, got {value:g}")
    return value  # type: ignore[no-any-return]  # it is of type ``kind``


def matching(table: Mapping[str, Any], field: str, wanted: re.Pattern[str], where: str) -> str:
    if not wanted.fullmatch(value := get(table, field, str, where)):
        raise ShareError(f"{where}: expected {field} like {wanted.pattern}, got {value[:40]!a}")
    return value


def bucket(count: int) -> str:
    """Power of ten: 0, 1-9, 10-99, ..."""
    low = 10 ** (len(str(count)) - 1)
    return f"{low}-{10 * low - 1}" if count > 0 else "0"


def is_name(text: str) -> bool:
    """Whether it may stand for a provider: 1 to 200 printable characters."""
    return 1 <= len(text) <= 200 and text.isprintable() and text == text.strip()
