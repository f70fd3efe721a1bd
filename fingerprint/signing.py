"""Signatures: whose bundle it is, by the operator's own key, in the format of OpenSSF Model Signing.

A bundle's hashes say that it is whole, not who made it. ``model.sig`` beside its files covers all of them and can be
checked by any tool of that format. Needs ``fingerprint[signing]``; no certificate, no log and no network is asked.
Left out: keeping keys.
"""

from pathlib import Path
from typing import Any

from model_signing import hashing, signing, verifying

from fingerprint.bundle import SIGNATURE, check_place
from fingerprint.errors import BundleError, FingerprintError
from fingerprint.scorer import verify

__all__ = ["check", "sign"]


def sign(directory: Path, key: Path) -> str:
    """Sign a sound bundle with a private elliptic-curve key (PEM) in place of an earlier signature; the bundle's id."""
    check_place(directory)
    found = verify(directory)
    _readable(key)
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=key)
    except Exception:  # kinds of the library's and of cryptography's
        raise FingerprintError(
            f"{key}: expected a private key of P-256, P-384 or P-521 in PEM, without a password"
        ) from None
    draft = directory.with_name(f".{directory.name}.{SIGNATURE}")
    try:
        config.set_hashing_config(_hashing()).sign(directory.resolve(), draft)
        draft.replace(directory / SIGNATURE)
    finally:
        draft.unlink(missing_ok=True)
    return found.bundle_id


def check(directory: Path, key: Path) -> None:
    """Raise ``BundleError`` unless the bundle, as it is, was signed with the private key of this public one (PEM)."""
    signature = directory / SIGNATURE
    if not signature.is_file():
        raise BundleError(f"bundle {directory}: unsigned: it has no {SIGNATURE}")
    _readable(key)
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except Exception:
        raise FingerprintError(f"{key}: expected a public key of P-256, P-384 or P-521 in PEM") from None
    try:
        config.set_hashing_config(_hashing()).verify(directory.resolve(), signature)
    except Exception as error:
        why = "its files are others" if str(error).startswith("Signature mismatch") else "another key, or damaged"
        raise BundleError(f"bundle {directory}: wrong signature ({why})") from None


def _hashing() -> Any:
    """All files but the signature itself."""
    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _readable(key: Path) -> None:
    """Raise ``OSError`` with the name of the file, which the library's own may lack."""
    key.open("rb").close()
