"""A full disk, a forbidden folder, a file in the wrong place: one message, whatever was being done."""

import ctypes
import json
import os
import resource
import subprocess
import sys

import pandas as pd
import pytest
from conftest import use_root

from dualrec_utils import __main__ as command
from dualrec_utils.core import config, errors, files
from dualrec_utils.core.errors import StudyError


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, 64 KiB large, as the folder that everything is written to."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def said(root, monkeypatch, capfd):
    """The one message of a stage that cannot work under `root`."""
    use_root(root, monkeypatch)
    assert command.main(["run", "data"]) == 2
    message = capfd.readouterr().err
    assert message.startswith("dualrec: data: ") and message.count("\n") == 1
    return message


def test_a_full_disk(small_disk, monkeypatch, capfd):
    (small_disk / "data" / ".state").mkdir(parents=True)
    (small_disk / "else").write_bytes(b"x" * 2**16)
    message = said(small_disk, monkeypatch, capfd)
    assert f"No space left on device: '{config.STATE}" in message and "free some" in message
    assert not list(config.STATE.glob(".*pid*"))


def test_a_disk_that_is_full_in_the_middle_of_a_file_keeps_the_old_one(small_disk):
    path = files.write_text("old", small_disk / "x.parquet")
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        files.write_parquet(pd.DataFrame({"a": [os.urandom(2**17)]}), path)
    assert path.read_text() == "old" and list(small_disk.iterdir()) == [path]


def test_a_folder_that_can_only_be_read(small_disk, monkeypatch, capfd):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert f"Read-only file system: '{small_disk}/data'" in said(small_disk, monkeypatch, capfd)


@pytest.mark.parametrize("place", ["data", "data/.state"])
def test_a_file_where_a_folder_belongs(root, monkeypatch, capfd, place):
    files.write_text("", root / place)
    assert "a file stands where a folder belongs" in said(root, monkeypatch, capfd)


@pytest.mark.parametrize("name", ["data/.state/data.pid", "data/.state/data.lock", "budgets.json"])
def test_a_folder_where_a_file_belongs(root, monkeypatch, capfd, name):
    files.write_text("", root / name / "x")
    message = said(root, monkeypatch, capfd)
    assert f"Is a directory: '{root / name}': a folder stands where a file belongs" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ('{"eda": 6', "Expecting"),
        ("[60]", "valid dictionary"),
        ('{"eda": "long"}', "eda is 'long'"),
        ('{"eda": 1.5}', "eda is 1.5"),
        ('{"nothing": 3}', "no stage 'nothing'"),
    ],
)
def test_budgets_that_cannot_be_read(root, monkeypatch, capfd, content, reason):
    path = files.write_text(content, root / "budgets.json")
    message = said(root, monkeypatch, capfd)
    assert reason in message and (str(path) in message or "nothing" in content)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"seconds": "long"}', '{"seconds": {}}'])
def test_times_that_cannot_be_read(root, monkeypatch, capfd, content):
    path = files.write_text(content, root / "reports" / "timings" / "audit.json")
    assert str(path) in said(root, monkeypatch, capfd)


def restricted(root, prepare):
    """The message of the command in a process that `prepare` takes something from."""
    (root / "data").mkdir(parents=True)
    (root / "params.yaml").write_bytes((config.PACKAGE_ROOT / "params.yaml").read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "dualrec_utils", "run", "data"],
        env=os.environ | {"DUALREC_ROOT": str(root)},
        cwd=config.PACKAGE_ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=prepare,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_file_size_limit(tmp_path):
    message = restricted(tmp_path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert f"File too large: '{tmp_path}" in message and "ulimit" in message


def test_a_folder_that_belongs_to_somebody_else(tmp_path):
    def forbid():
        # Even root obeys a file's rights without these two capabilities.
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
        (tmp_path / "data").chmod(0o500)

    assert f"Permission denied: '{tmp_path}" in restricted(tmp_path, forbid)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError(13, "Permission denied", "x"), "who may read"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "free some"),
        ("[Errno 27] File too large", "ulimit"),
        (OSError("socket closed"), "socket closed"),
    ],
)
def test_what_an_error_of_the_operating_system_says(error, advice):
    message = errors.explained(error)
    assert advice in message and "Errno" not in message and "\n" not in message


def test_a_writer_that_does_not_say_why_it_failed(tmp_path):
    path = tmp_path / "x.npy"
    with pytest.raises(OSError, match=rf"less than it should: '{path}'"), files.replacing(path):
        raise OSError("less than it should")
    with pytest.raises(StudyError, match=r"^\[Errno 28\] is quoted$"), files.replacing(path):
        raise StudyError("[Errno 28] is quoted")
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"), files.replacing(path) as made:
        made.symlink_to("/dev/full")
        made.write_text(json.dumps(list(range(9999))))
    assert list(tmp_path.iterdir()) == []


def test_an_error_without_words_goes_by_its_type():
    assert errors.first_line(KeyError()) == "KeyError"
    assert errors.first_line(ValueError("\nfirst\nsecond")) == "first"
