"""Files are written whole or not at all, and every error is one type with the path and the next step."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from recompviz.core.base.errors import FileError, MissingFile, RecompvizError
from recompviz.core.base.files import locked, read_text, write_file


def test_a_new_file_and_an_old_one_hold_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in ("first", b"second", ""):
        write_file(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_old_file_keeps_its_permissions_and_a_new_one_gets_the_usual_ones(tmp_path: Path) -> None:
    path, usual = tmp_path / "a", tmp_path / "b"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o640)
    usual.write_text("old", encoding="utf-8")
    assert write_file(path, "new").stat().st_mode & 0o777 == 0o640
    assert write_file(tmp_path / "c", "new").stat().st_mode == usual.stat().st_mode


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/target")
    write_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "target").read_text() == "new"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert write_file("~/a", "new") == tmp_path / "a"


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_other(
    fails: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    path = tmp_path / "a"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "fsync" if fails == "write" else fails, fail)
    with pytest.raises(type(error) if isinstance(error, KeyboardInterrupt) else FileError) as raised:
        write_file(path, "new")
    if isinstance(raised.value, FileError):
        assert (raised.value.errno, raised.value.filename) == (28, str(path))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(FileError, match="position 1"):
        write_file(path, "a\ud800b")
    assert path.read_text() == "old"


@pytest.mark.parametrize("path", ["", ".", "a\0b", "missing/a", "~no_such_user_at_all/a", "\ud800/a", "x" * 5000, "/"])
def test_a_path_that_cannot_be_written_is_one_type_of_error(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (lambda: write_file(path, "new"), lambda: read_text(path, 10)):
        with pytest.raises(FileError) as raised:
            call()
        assert isinstance(raised.value, RecompvizError)
        assert isinstance(raised.value, OSError)
        assert "; " in str(raised.value)
        copied = pickle.loads(pickle.dumps(raised.value))
        assert (str(copied), copied.errno) == (str(raised.value), raised.value.errno)
    assert os.listdir(tmp_path) == []


def test_a_missing_file_or_folder_is_also_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        write_file(tmp_path / "missing" / "a", "new")
    assert isinstance(raised.value, MissingFile)
    with pytest.raises(MissingFile):
        read_text(tmp_path / "missing", 10)


def test_a_device_is_written_directly() -> None:
    with pytest.raises(FileError, match="No space left"):
        write_file("/dev/full", "new")
    write_file("/dev/null", "new")


def test_only_small_texts_in_utf_8_are_read(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", "größer")
    assert read_text(path, 8) == "größer"
    with pytest.raises(FileError, match="more than 7 bytes"):
        read_text(path, 7)
    write_file(path, b"\xff")
    with pytest.raises(FileError, match="utf-8"):
        read_text(path, 7)


def test_a_reader_sees_whole_files_only_while_a_process_writes_and_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    code = f"""
import itertools, sys
from recompviz.core.base.files import write_file
for i in itertools.count():
    write_file({str(path)!r}, (str(i % 10) * 200_000).encode(), durable=False)
    if i == 1: print("began", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = [path.read_bytes() for _ in range(300)]
        process.kill()
    seen.append(path.read_bytes())
    assert all(len(content) == 200_000 and len(set(content)) == 1 for content in seen)


def test_a_lock_is_held_by_one_at_a_time_and_is_given_up_after_a_while(tmp_path: Path) -> None:
    entered = []

    def enter(seconds: float) -> None:
        with locked(tmp_path / "a", seconds):
            entered.append(seconds)

    with locked(tmp_path / "a"):
        waits = threading.Thread(target=enter, args=(5,))
        waits.start()
        enter(0.05)
        assert entered == [0.05]
    waits.join()
    assert entered == [0.05, 5]
    with locked(tmp_path / "missing" / "a"):  # no lock can be made
        pass


def test_a_pipe_that_nobody_reads_is_an_error_and_no_wait(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FileError, match="pipe"):
        write_file(pipe, "text")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_file(pipe, "text")
    assert os.read(reader, 9) == b"text"
    os.close(reader)
