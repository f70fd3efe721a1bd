"""What ``import fingerprint`` gives, what it loads, and where it works."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from builders import exchange
from toy_bundle import toy_bundle

import fingerprint
from fingerprint import _jit

ROOT = Path(__file__).parents[1]
PACKAGE = Path(fingerprint.__file__).parent
HEAVY = ("pyarrow", "typer", "rich", "click", "pandas", "sklearn", "lightgbm", "mlflow", "onnx", "training")
MODULES = """
import json, sys
{}
print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))
"""
SCORE = """
import json, sys, fingerprint
scorer = fingerprint.Scorer.load(sys.argv[1])
window = fingerprint.Window.empty()
for exchange in json.loads(sys.argv[2]):
    window.update(scorer.read(exchange, after=window))
print(fingerprint.__file__, float(scorer.score(fingerprint.features(window))[0]))
"""


def python(code: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> str:
    command, environ = [sys.executable, "-c", code, *map(str, arguments)], os.environ | environment
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environ, timeout=300)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


def test_a_handful_of_public_names_and_all_are_there() -> None:
    assert 4 <= len(fingerprint.__all__) <= 8
    assert {"Scorer", "Window", "features"} <= set(fingerprint.__all__)
    assert all(hasattr(fingerprint, name) for name in fingerprint.__all__)
    assert re.fullmatch(r"\d+\.\d+\.\d+", fingerprint.__version__)


def test_errors_have_one_base() -> None:
    for error in (fingerprint.BundleError, fingerprint.ExchangeError):
        assert issubclass(error, fingerprint.FingerprintError)


def test_importing_loads_numpy_numba_and_onnxruntime_and_what_these_load() -> None:
    theirs = set(json.loads(python(MODULES.format("import numpy, numba, onnxruntime, concurrent.futures"))))
    ours = set(json.loads(python(MODULES.format("import fingerprint"))))
    assert {name for name in ours - theirs if name not in sys.stdlib_module_names} <= {"fingerprint"}
    assert [name for name in HEAVY if name in ours] == []  # scipy comes with numba, where it is installed


def test_importing_says_nothing_and_asks_no_network() -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "import fingerprint"
    )
    assert python(code) == ""


def copied(to: Path) -> tuple[Path, Path]:
    """The package without write permission, and a user's cache that holds the code compiled already."""
    package, cache = to / "site" / "fingerprint", to / "cache" / "fingerprint"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "default"))
    (package / "__pycache__").touch()  # modes do not bind root: a file where the directory would be
    if _jit._DIRECTORY is not None:
        cache.mkdir(parents=True)
        for path in _jit._DIRECTORY.glob(f"*{_jit._KEY}*.nb*"):
            shutil.copy2(path, cache)
    for path in [*package.rglob("*"), package]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return package, cache


def test_a_read_only_install_works(tmp_path: Path) -> None:
    package, cache = copied(tmp_path)
    before = sorted(package.rglob("*"))
    bundle, records = toy_bundle(tmp_path / "toy"), [exchange(exchange_id=str(i), logprobs=True) for i in range(3)]
    told = python(
        SCORE,
        bundle,
        json.dumps(records),
        cwd=tmp_path,
        PYTHONPATH=str(package.parent),
        XDG_CACHE_HOME=str(cache.parent),
        PYTHONDONTWRITEBYTECODE="1",
    )
    place, score = told.split()
    assert Path(place).parent == package
    assert float(score) == pytest.approx(0.982, abs=0.001)
    assert sorted(package.rglob("*")) == before
    assert list(cache.glob("*.nbc")), "the compiled kernels are kept for the user"


def test_the_example_of_the_package_runs() -> None:
    """The names used in the docstring of the package exist."""
    code = "\n".join(re.findall(r"^(?:>>>|\.\.\.) (.*)$", fingerprint.__doc__ or "", re.M))
    for name in re.findall(r"fingerprint\.(\w+)", code):
        assert name in fingerprint.__all__
    compile(code, "docstring", "exec")


def readme_blocks() -> list[str]:
    path = ROOT / "README.md"
    return re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8") if path.is_file() else "", re.M | re.S)


def test_the_readmes_example_runs(tmp_path: Path) -> None:
    """The first Python block of the README, in a new interpreter, with the bundle that ships."""
    blocks = readme_blocks()
    if not blocks:
        pytest.skip("README.md has no Python block yet")
    if not (fingerprint.bundle.default_path() / "manifest.json").is_file():
        pytest.skip("no shipped bundle yet")
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 20
    process = subprocess.run(
        [sys.executable, "-c", blocks[0]], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout


def test_the_package_is_typed_for_its_users() -> None:
    assert find_spec("fingerprint") is not None
    assert (PACKAGE / "py.typed").is_file(), "the classifier says Typing :: Typed"


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0")])
def test_telemetry_of_onnxruntime_is_off_unless_the_host_says_otherwise(given: str | None, kept: str) -> None:
    """It would otherwise write an id to the home directory and report as soon as it is imported."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {} if given is None else {"ORT_DISABLE_TELEMETRY": given}
    code = "import os, fingerprint; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == kept
