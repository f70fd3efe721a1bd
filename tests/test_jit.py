"""The cache of compiled kernels: read by the next process, stale after any edit, and not needed.

A package of one kernel and one part of it, in another file, stands for the real one: it compiles in a second.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import fingerprint
from fingerprint import _jit

PART = "from fingerprint._jit import inner\n\n@inner\ndef part(x):\n    return x + {}\n"
KERNEL = """
from fingerprint._jit import kernel
from fingerprint.kernels.part import part

@kernel
def whole(values):
    total = 0
    for i in range(len(values)):
        total += part(values[i])
    return total
"""
RUN = """
import json, numpy
from fingerprint import _jit
from fingerprint.kernels.whole import whole
result = int(whole(numpy.arange(3)))
stats = whole.stats
print(json.dumps([result, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), str(_jit._DIRECTORY)]))
"""


@dataclass(frozen=True)
class Package:
    """A small ``fingerprint`` below ``root`` and the user's cache beside it."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "fingerprint"

    @property
    def user(self) -> Path:
        return self.root / "cache"

    def run(self) -> tuple[int, int, int, str]:
        """Result, cache hits, cache misses and cache directory of a new process."""
        environment = os.environ | {"PYTHONPATH": str(self.root), "XDG_CACHE_HOME": str(self.user)}
        process = subprocess.run(
            [sys.executable, "-c", RUN], capture_output=True, text=True, cwd=self.root, env=environment, check=False
        )
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
        result, hits, misses, directory = json.loads(process.stdout)
        return result, hits, misses, directory

    def part(self, number: int) -> None:
        path = self.folder / "kernels" / "part.py"
        path.write_text(PART.format(number))
        shutil.rmtree(self.folder / "kernels" / "__pycache__", ignore_errors=True)

    def code(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*.nbc"))

    def read_only(self) -> None:
        """Also for root, whom modes do not bind: a file stands where the directory would be made."""
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)
        (self.folder / "__pycache__").touch()


@pytest.fixture
def package(tmp_path: Path) -> Package:
    package = Package(tmp_path)
    (package.folder / "kernels").mkdir(parents=True)
    (package.folder / "features").mkdir()
    for name in ("__init__.py", "kernels/__init__.py"):
        (package.folder / name).touch()
    shutil.copy(Path(_jit.__file__), package.folder / "_jit.py")
    (package.folder / "kernels" / "whole.py").write_text(KERNEL)
    package.part(1)
    return package


def test_a_second_process_compiles_nothing(package: Package) -> None:
    result, hits, misses, directory = package.run()
    assert (result, hits, misses, directory) == (6, 0, 1, str(package.folder / "__pycache__"))
    stored = package.code()
    assert len(stored) == 1
    assert package.run()[:3] == (6, 1, 0)
    assert package.code() == stored


def test_an_edit_of_a_part_in_another_file_compiles_anew(package: Package) -> None:
    """numba's own cache would go on with the old part."""
    assert package.run()[0] == 6
    package.part(2)
    assert package.run()[:3] == (9, 0, 1)
    assert package.run()[:3] == (9, 1, 0)
    assert len(package.code()) == 2


def test_a_read_only_install_keeps_the_code_in_the_users_cache(package: Package) -> None:
    package.read_only()
    assert package.run() == (6, 0, 1, str(package.user / "fingerprint"))
    assert package.run()[:3] == (6, 1, 0)
    assert [Path(name).parts[0] for name in package.code()] == ["cache"]


def test_with_nowhere_to_write_all_works_the_same(package: Package) -> None:
    package.read_only()
    package.user.touch()
    for _ in range(2):
        result, hits, _, directory = package.run()
        assert (result, hits, directory) == (6, 0, "None")
    assert package.code() == []


@pytest.mark.parametrize("place", ["kernels/text.py", "kernels/layout.py", "features/timing.py"])
def test_the_key_changes_with_any_source_of_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    package = tmp_path / "fingerprint"
    shutil.copytree(Path(fingerprint.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(_jit, "_PACKAGE", package)
    before = _jit._source_key()
    assert before == _jit._source_key()
    path = package / place
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = _jit._source_key()
    with path.open("a") as stream:
        stream.write("\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len({before, touched, _jit._source_key()}) == 3


def test_the_key_changes_with_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _jit._source_key()
    monkeypatch.setattr(_jit.numba, "__version__", "0")
    assert _jit._source_key() != before


def test_no_probe_is_left_behind(tmp_path: Path) -> None:
    assert _jit._writable(tmp_path / "new" / "place")
    assert list((tmp_path / "new" / "place").iterdir()) == []
    (tmp_path / "file").touch()
    assert not _jit._writable(tmp_path / "file")
