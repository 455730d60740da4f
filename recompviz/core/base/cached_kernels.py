"""``@kernel``: compile a function with numba, and keep the compiled code on disk where that is possible.

numba's own cache raises an error if no folder can be written, if the disk is full, or if a file is damaged. With
``@kernel``, the function is then compiled again. If no file can be written, each process compiles it and warns once.
The files of the cache end with a checksum, so that damaged machine code is never executed.

Without numba, ``@kernel`` leaves the function as it is. Python then runs it, slowly and with the same result. This is
fast enough for a single simulation, but not for a search. Only modules that define kernels import this module.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recompviz.core.base.compiled_code import has_numba

if TYPE_CHECKING or has_numba():
    import numba
    from numba.core.caching import FunctionCache, IndexDataCacheFile
else:
    FunctionCache = IndexDataCacheFile = object  # not used

_DIGEST = hashlib.sha256().digest_size
_warned: set[str] = set()


def kernel(function: Any = None, *, inline: Literal["never", "always"] = "never") -> Any:
    """Decorate a function, so that numba compiles it when it is first called. Without numba, return it unchanged.

    Write ``@kernel`` or ``@kernel(inline="always")``. If the compiled code cannot be kept on disk, a RuntimeWarning
    says so, once in each process.

    Parameters
    ----------
    function : callable, optional
        The function to compile. None if the decorator has arguments; the result is then a decorator.
    inline : "never" or "always"
        Whether numba inlines the function where another kernel calls it, as for ``numba.njit``.
    """
    if function is None:
        return lambda function: kernel(function, inline=inline)
    if not has_numba():
        return function
    compiled: Any = numba.njit(inline=inline)(function)
    try:
        compiled._cache = _Cache(function)
    except Exception as error:  # RuntimeError where no folder can be written; other errors in other versions of numba
        _warn(error)
    return compiled


class _CheckedFiles(IndexDataCacheFile):
    """The files of the cache of one function, with a checksum at their end."""

    def _dump(self, obj: Any) -> bytes:
        data: bytes = super()._dump(obj)
        return data + hashlib.sha256(data).digest()

    def _load_index(self) -> Any:
        try:
            data = Path(self._index_path).read_bytes()
        except FileNotFoundError:
            return {}
        file = io.BytesIO(data)
        if pickle.load(file) != self._version:
            return {}
        stamp, overloads = pickle.loads(_checked(file.read(), self._index_path))
        return overloads if stamp == self._source_stamp else {}

    def _load_data(self, name: str) -> Any:
        path = self._data_path(name)
        return pickle.loads(_checked(Path(path).read_bytes(), path))


class _Damaged(Exception):
    """A file of the cache is damaged."""


def _checked(data: bytes, path: str) -> bytes:
    content, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise _Damaged(f"{path} is damaged")
    return content


class _Cache(FunctionCache):
    """numba's cache of one function. A damaged file counts as missing. A file that cannot be written is left out."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        files = self._cache_file
        self._cache_file = _CheckedFiles(self.cache_path, self._impl.filename_base, files._source_stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a damaged file can raise any type of error
            self._forget()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except _Damaged:
            self._forget()
        except Exception as error:  # for example a full disk
            _warn(error)

    def _forget(self) -> None:
        """Replace a damaged index by an empty one."""
        try:
            self._cache_file.flush()
        except Exception as error:  # for example a folder that cannot be written
            _warn(error)


def _warn(error: Exception) -> None:
    """Say once in this process that compiled code cannot be kept, and what to do."""
    if not _warned:
        _warned.add("warned")
        warnings.warn(
            f"numba cannot keep compiled code on disk ({type(error).__name__}: {str(error)[:160]}), so each process "
            "compiles it again, which takes up to a minute; set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
