"""The data folder: whose it is, who holds it, and what is said when it can't be used."""

import errno
import os
import stat
from pathlib import Path

import pytest

from mercenary.local.account import Account, serving_account
from mercenary.local.folder import (
    MARKER,
    SOCKET_FOLDER_LENGTH,
    DataFolder,
    plain_faults,
    require_space,
    socket_folder,
)
from mercenary.settings import SetupError

STRANGER = Account("stranger", 54321, 54321, switched=True)


def opened(path: Path) -> DataFolder:
    folder = DataFolder(path, serving_account())
    folder.open()
    return folder


def test_a_new_folder_is_marked_and_kept_private(tmp_path: Path) -> None:
    folder = opened(tmp_path / "deep" / "data")
    assert (folder.path / MARKER).exists()
    assert stat.S_IMODE(folder.path.stat().st_mode) in (0o700, 0o711)
    folder.close()


def test_it_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    first = opened(tmp_path / "data")
    with pytest.raises(SetupError, match=f"in use by another .*process {os.getpid()}"):
        opened(tmp_path / "data")
    first.close()
    opened(tmp_path / "data").close()


def test_a_folder_of_something_else_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SetupError, match="holds files of something else"):
        opened(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_fresh_deletes_what_was_there_and_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.txt").write_text("mine")
    folder = opened(tmp_path / "data")
    (folder.path / "old").mkdir()
    (folder.path / "old" / "row").touch()
    (folder.path / "link").symlink_to(outside)

    folder.prepare(fresh=True)

    assert not (folder.path / "old").exists()
    assert not (folder.path / "link").exists()
    assert (outside / "thesis.txt").exists()
    folder.remove()
    folder.close()
    assert not folder.path.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_that(tmp_path: Path, number: int) -> None:
    with pytest.raises(SetupError, match=r"full; free some space"), plain_faults(tmp_path):
        raise OSError(number, os.strerror(number))


def test_a_write_to_a_full_device_is_called_that(tmp_path: Path) -> None:
    with (
        pytest.raises(SetupError, match="is full"),
        plain_faults(tmp_path),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_other_faults_name_the_file_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"can't be used \(Not a directory.*--data"):
        opened(tmp_path / "file" / "data")


def test_space_is_asked_for_before_it_is_used(tmp_path: Path) -> None:
    require_space(tmp_path, 1)
    with pytest.raises(SetupError, match="MB free"):
        require_space(tmp_path, 1 << 60)


def test_an_account_crosses_what_is_open_to_it_and_no_more(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    inner = closed / "inner"
    inner.mkdir(mode=0o755)
    assert not STRANGER.crosses(inner)
    assert Account("me", os.geteuid(), os.getegid(), switched=False).crosses(inner)
    assert STRANGER.crosses(Path("/"))


def test_sockets_of_a_deep_folder_get_a_short_one(tmp_path: Path) -> None:
    account = serving_account()
    assert socket_folder(Path("/d"), account) == Path("/d/run")
    deep = socket_folder(tmp_path / ("x" * 120), account)
    assert len(os.fsencode(deep)) <= SOCKET_FOLDER_LENGTH
    assert deep != socket_folder(tmp_path / ("y" * 120), account)
