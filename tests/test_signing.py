"""``fingerprint sign`` and ``verify --public-key``: unsigned, signed, wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from toy_bundle import toy_bundle
from typer.testing import CliRunner

from fingerprint import bundle
from fingerprint.commands import app

Curve = ec.SECP256R1 | ec.SECP384R1


def key_pair(folder: Path, name: str, curve: Curve | None = None, password: bytes | None = None) -> tuple[Path, Path]:
    """A private and a public key in PEM; without a curve of RSA."""
    made = ec.generate_private_key(curve) if curve else rsa.generate_private_key(65537, 2048)
    guard = BestAvailableEncryption(password) if password else NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, guard))
    public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return key_pair(tmp_path, "own", ec.SECP256R1())


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return toy_bundle(tmp_path / "toy")


def done(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_signed_bundle_says_by_whom_wherever_it_lies(
    toy: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys
    assert done("verify", toy).endswith(" features\n")
    assert "unsigned: it has no model.sig" in refused("verify", toy, "--public-key", public)
    before = bundle.load(toy).bundle_id
    assert f"bundle {before} is signed: " in done("sign", toy, "--key", private)
    assert "features; signed: --public-key checks by whom\n" in done("verify", toy)
    assert "features; signed with the key of own.pub\n" in done("verify", toy, "--public-key", public)
    shutil.copytree(toy, tmp_path / "there" / "other")
    monkeypatch.chdir(tmp_path / "there")
    assert "signed with the key" in done("verify", "other", "--public-key", public)
    done("sign", "other", "--key", private)
    assert "signed with the key" in done("verify", "other", "--public-key", public)
    assert bundle.load("other").bundle_id == before, "the signature is no part of it"
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["other"]


def test_a_bundle_of_somebody_else(toy: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """Sound by its own hashes, which anybody can make."""
    private, public = keys
    done("sign", toy, "--key", private)
    other = toy_bundle(tmp_path / "other", typical={"logprobs_share": [0.0, 0.1, 1.0]})
    shutil.copy(toy / "model.sig", other)
    assert "signed: --public-key checks" in done("verify", other)
    assert "wrong signature (its files are others)" in refused("verify", other, "--public-key", public)
    stranger, _ = key_pair(tmp_path, "stranger", ec.SECP384R1())
    done("sign", toy, "--key", stranger)
    assert "wrong signature (another key, or damaged)" in refused("verify", toy, "--public-key", public)
    (toy / "model.sig").write_text("{}")
    assert "wrong signature (another key, or damaged)" in refused("verify", toy, "--public-key", public)


def test_a_new_bundle_in_its_place_is_unsigned(toy: Path, keys: tuple[Path, Path]) -> None:
    done("sign", toy, "--key", keys[0])
    found = bundle.load(toy)
    bundle.write(toy, {name: (toy / name).read_bytes() for name in bundle.FILES}, found.manifest)
    assert "unsigned" in refused("verify", toy, "--public-key", keys[1])


def test_keys_that_are_none(toy: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = keys
    done("sign", toy, "--key", private)
    signature = (toy / "model.sig").read_bytes()
    of_rsa, rsa_public = key_pair(tmp_path, "rsa")
    for key in (public, of_rsa, toy / "card.md"):
        assert "expected a private key of P-256" in refused("sign", toy, "--key", key)
    for key in (private, rsa_public, toy / "card.md"):
        assert "expected a public key of P-256" in refused("verify", toy, "--public-key", key)
    assert "No such file" in refused("sign", toy, "--key", tmp_path / "none")
    assert "No such file" in refused("verify", toy, "--public-key", tmp_path / "none")
    assert (toy / "model.sig").read_bytes() == signature


def test_a_key_with_a_password(toy: Path, tmp_path: Path) -> None:
    private, _ = key_pair(tmp_path, "guarded", ec.SECP384R1(), b"open sesame")
    assert "in PEM, without a password" in refused("sign", toy, "--key", private)


def test_a_damaged_bundle_is_not_signed(toy: Path, keys: tuple[Path, Path]) -> None:
    (toy / "card.md").write_text("another")
    assert "card.md was changed" in refused("sign", toy, "--key", keys[0])
    assert not (toy / "model.sig").exists()


def test_the_library_is_imported_by_the_command_alone() -> None:
    code = "import sys, fingerprint.serving_commands, fingerprint.delivery; assert 'model_signing' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
