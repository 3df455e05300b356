"""Paths: `~` is expanded, and only regular files are opened."""

import os
import socket
from pathlib import Path

import pytest

from vaekit.paths import expanded, regular_file


def test_a_regular_file_is_its_path_and_a_link_to_one_too(tmp_path, monkeypatch):
    file = tmp_path / "x.npy"
    file.write_bytes(b"1")
    (tmp_path / "link.npy").symlink_to(file)
    assert regular_file(file) == regular_file(str(file)) == file
    assert regular_file(tmp_path / "link.npy") == tmp_path / "link.npy"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert regular_file("~/x.npy") == file
    assert expanded("~/new/x.npy") == tmp_path / "new" / "x.npy"


def test_what_is_no_regular_file_is_refused_by_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "to_pipe").symlink_to("pipe.npy")
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(tmp_path)  # the name of a socket is short
    try:
        server.bind("socket")
    finally:
        os.chdir(here)
    wrong = {
        tmp_path: "a folder",
        tmp_path / "pipe.npy": "a named pipe",
        tmp_path / "to_pipe": "a named pipe",
        tmp_path / "socket": "a socket",
        Path("/dev/zero"): "a character device",
    }
    for path, what in wrong.items():
        with pytest.raises(ValueError, match=f"expected a file, but {path} is {what}"):
            regular_file(path)
    server.close()
    with pytest.raises(FileNotFoundError):
        regular_file(tmp_path / "none")


def test_paths_that_no_file_system_has_are_refused():
    with pytest.raises(ValueError, match="contains a NUL"):
        regular_file("a\0b")
    with pytest.raises(ValueError, match="cannot be expanded"):
        expanded("~nobody-of-this-name/x")
