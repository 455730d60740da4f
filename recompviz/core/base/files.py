"""Write files whole or not at all.

The content goes to a temporary file in the same folder, which then takes the place of the old file. If the disk is full
or the process ends meanwhile, the old file stays as it was. The module also reads files, and locks them against other
processes.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import FileError, MissingFile

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module or None; callers check

_CHOOSE = "choose another path"


def write_file(path: str | os.PathLike[str], content: str | bytes, *, durable: bool = True) -> Path:
    """Write a file whole or not at all.

    A text is written as UTF-8. A symbolic link is followed, and an existing file keeps its permissions. A device or a
    pipe is written directly, because it cannot be replaced.

    Parameters
    ----------
    path : str or path-like
        The path of the file. ``~`` is the home folder.
    content : str or bytes
        The new content of the file.
    durable : bool
        Whether to wait until the content is on the disk before the old file is replaced. If False, a crash of the
        machine (not of the process) can leave an empty file.

    Returns
    -------
    Path
        The path of the file, with ``~`` and links resolved.

    Raises
    ------
    FileError
        If the file cannot be written, or the text cannot be encoded as UTF-8. An existing file is then unchanged. The
        error is also an OSError. If the folder does not exist, it is also a FileNotFoundError.
    TypeError
        If ``path`` is not a path, or ``content`` is neither a str nor bytes.

    Examples
    --------
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_file(folder / "a.txt", "new").read_text()
    'new'
    >>> write_file(folder / "missing" / "a.txt", "new")
    Traceback (most recent call last):
    recompviz.core.base.errors.MissingFile: cannot write .../missing/a.txt: ...; make the folder first
    """
    expect(path, (str, os.PathLike), "path", "the path of a file")
    shown = os.fspath(path)
    if isinstance(content, str):
        try:
            content = content.encode("utf-8")
        except UnicodeEncodeError as error:
            bad = content[error.start]
            raise FileError(
                shown,
                f"the text has {bad!r} at position {error.start:,}, which UTF-8 cannot express",
                "remove the character",
            ) from error
    try:
        target = _resolved(shown)
        if target.exists() and not target.is_file():
            if target.is_dir():
                raise FileError(shown, "it is a folder", "give the path of a file in it")
            with open(os.open(target, os.O_WRONLY | os.O_NONBLOCK), "wb", buffering=0) as stream:
                os.set_blocking(stream.fileno(), True)  # only opening a pipe that nobody reads must not wait
                stream.write(content)
            return target
        _replace(target, content, durable)
    except FileError:
        raise
    except FileNotFoundError as error:
        raise MissingFile(shown, error, "make the folder first") from error
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: NUL in the path; RuntimeError: no home folder
        raise FileError(shown, error, _CHOOSE) from error
    return target


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and its parents, if they do not exist. Return its path, with ``~`` and links resolved.

    Raises
    ------
    FileError
        If the folder cannot be made. The error is also an OSError.
    TypeError
        If ``path`` is not a path.
    """
    expect(path, (str, os.PathLike), "path", "the path of a folder")
    shown = os.fspath(path)
    try:
        target = _resolved(shown)
        target.mkdir(parents=True, exist_ok=True)
    except FileError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise FileError(shown, error, _CHOOSE) from error
    return target


def read_bytes(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    path : str or path-like
        The path of the file. ``~`` is the home folder.
    most : int, optional
        The largest number of bytes that the file may have. If left out, there is no limit.

    Raises
    ------
    FileError
        If the file cannot be read, or has more than ``most`` bytes. The error is also an OSError. If there is no such
        file, the error is also a FileNotFoundError.
    TypeError
        If ``path`` is not a path.
    """
    shown = os.fspath(path)
    try:
        target = _resolved(shown, reads=True)
        if target.exists() and not target.is_file():  # a pipe would block
            raise FileError(shown, "it is not a file", "give the path of a file", reads=True)
        with open(target, "rb") as file:
            data = file.read() if most is None else file.read(most + 1)
        if most is not None and len(data) > most:
            raise FileError(shown, f"it has more than {most:,} bytes", "is it the right file?", reads=True)
        return data
    except FileError:
        raise
    except FileNotFoundError as error:
        raise MissingFile(shown, error, "check the path", reads=True) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise FileError(shown, error, "give the path of a file that can be read", reads=True) from error


def read_text(path: str | os.PathLike[str], most: int) -> str:
    """Return the text of a UTF-8 file. ``most`` is the largest number of bytes that the file may have.

    Raises
    ------
    FileError, TypeError
        As for :func:`read_bytes`. Also FileError if the content is not valid UTF-8.
    """
    data = read_bytes(path, most)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(os.fspath(path), error, "give the path of a text file", reads=True) from error


@contextlib.contextmanager
def locked(path: Path, seconds: float = 5.0) -> Iterator[None]:
    """Hold the lock of a file in a ``with`` block, so that only one process at a time changes the file.

    Processes that hold the lock can read, change and write the file one after another, and no change is lost. A process
    waits until the lock is free, but at most ``seconds``. If the lock is not free by then, the ``with`` block runs
    without the lock. The ``with`` block also runs without a lock on Windows, on a file system without locks, and in a
    folder that cannot be written. The lock is on an extra empty file in the same folder. It has the name of the file
    with ``.lock`` added, and it is not removed afterwards.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a file system without locks, or a folder that is read-only
            if fcntl is not None:
                file = stack.enter_context(open(path.with_name(f"{path.name}.lock"), "ab"))
                end = time.monotonic() + seconds
                while not _lock(file.fileno()) and time.monotonic() < end:
                    time.sleep(0.01)
        yield


def _lock(handle: int) -> bool:
    """Return whether the lock was free. Closing the file releases it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _resolved(path: str, *, reads: bool = False) -> Path:
    if not path:
        raise FileError("''", "the path is empty", "give the path of a file", reads=reads)
    return Path(os.path.realpath(Path(path).expanduser()))


def _replace(target: Path, content: bytes, durable: bool) -> None:
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
    if target.exists() and not os.access(target, os.W_OK):  # a rename would replace a file that is read-only
        raise PermissionError("the file is read-only")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".part")
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # some file systems have no permissions
            os.chmod(name, mode)
        os.replace(name, target)
    except BaseException:  # also an interrupt
        with contextlib.suppress(OSError):  # the first error is the one to report
            os.unlink(name)
        raise


def _umask() -> int:
    """Return the mask of permissions of the process. There is no way to read it without setting it."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # only Linux has this file in this form
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
