"""Compile the kernels with numba and keep the machine code on disk, keyed by the sources of the package.

numba's own cache looks at the file of the cached function only: a kernel that calls into another file
would go on running old code after that file changed. Here the key covers every file that holds kernels
(sizes and modification times, no file is read), so that an edit or an upgrade of any of them recompiles all.
The code lies in the package's ``__pycache__`` or, where that is read-only, in the user's cache
directory; with neither, kernels are compiled once a process and all else works the same.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import caching

__all__ = ["inner", "kernel"]

_PACKAGE = Path(__file__).parent


def _source_key() -> str:
    sources = [path for folder in ("kernels", "features") for path in (_PACKAGE / folder).glob("*.py")]
    stats = sorted((path.name, path.stat()) for path in sources)
    digest = hashlib.sha256(numba.__version__.encode())
    for name, stat in stats:
        digest.update(f"{name}:{stat.st_size}:{stat.st_mtime_ns};".encode())
    return digest.hexdigest()[:16]


def _writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def _cache_directory() -> Path | None:
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    candidates = (_PACKAGE / "__pycache__", user / "fingerprint")
    return next((d for d in candidates if d.is_absolute() and _writable(d)), None)


_DIRECTORY = _cache_directory()
_KEY = _source_key()


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Where numba keeps the code of a kernel, and the stamp that makes it stale."""

    def __init__(self, py_file: str) -> None:
        own = Path(py_file).stat()  # a kernel may also stand in a file of another package
        self._stamp = hashlib.sha256(f"{_KEY}:{own.st_size}:{own.st_mtime_ns}".encode()).hexdigest()[:16]

    def get_cache_path(self) -> str:
        return str(_DIRECTORY)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return self._stamp

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_Locator":
        return cls(py_file)


class _CacheImpl(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _FunctionCache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _CacheImpl


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` as a part of the kernels that call it.

    Strict IEEE arithmetic (no fastmath): one exchange and ten million give the same bits.
    """
    return numba.njit(nogil=True, error_model="numpy")(function)  # type: ignore[no-any-return]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` as an entry point: without the GIL, cached on disk when a place can be written."""
    compiled: Any = inner(function)
    if _DIRECTORY is not None:
        compiled._cache = _FunctionCache(function)
    return compiled  # type: ignore[no-any-return]
