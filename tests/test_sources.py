"""Sources: verified or not used, tried in order, little time lost on one out of reach."""

import dataclasses
import http.server
import importlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known, sources
from dualrec_utils.studies.nir import recordings


def use_url(dataset, url, monkeypatch):
    """Let a data set's archive lie elsewhere."""
    module = importlib.import_module(f"dualrec_utils.datasets.sets.{dataset.replace('-', '_')}")
    monkeypatch.setattr(
        module, "DATASET", dataclasses.replace(module.DATASET, urls={url.rsplit("/", 1)[1]: url})
    )


@pytest.fixture
def cut_off(monkeypatch, root):
    """No folder named, and a port that nothing listens on where GroupLens and the index would be."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        closed = listener.getsockname()[1]
    monkeypatch.delenv("DUALREC_DATA", raising=False)
    use_url("ml-100k", f"http://127.0.0.1:{closed}/ml-100k.zip", monkeypatch)
    use_url("ml-1m", f"http://127.0.0.1:{closed}/ml-1m.zip", monkeypatch)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed}/simple")
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return root


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A web server on this machine with a file `ml-100k.zip` whose checksum is the expected one."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "ml-100k.zip").write_bytes(b"the right archive")
    monkeypatch.setitem(known.find("ml-100k").sha256, "ml-100k.zip", files.sha256(folder / "ml-100k.zip"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use_url("ml-100k", f"http://127.0.0.1:{server.server_port}/ml-100k.zip", monkeypatch)
    yield folder
    server.shutdown()
    server.server_close()


def test_a_folder_serves_and_the_record_says_so(cut_off, tiny_folder):
    fetched = sources.fetch("ml-100k")
    assert fetched.source == "folder"
    assert [path.name for path in fetched.paths] == ["u.data", "u.item"]
    for path in fetched.paths:
        assert path.parent == config.raw_dir("ml-100k")
        assert path.read_bytes() == (tiny_folder / "ml-100k" / path.name).read_bytes()
    record = files.read_json(config.raw_dir("ml-100k") / "source.json")
    assert record["sha256"]["u.data"] == files.sha256(tiny_folder / "ml-100k" / "u.data")


def test_the_web_serves_when_no_folder_is_named(cut_off, served):
    fetched = sources.fetch("ml-100k")
    assert fetched.source == "GroupLens"
    assert fetched.paths[0].read_bytes() == b"the right archive"


def test_a_wrong_checksum_is_kept_aside_and_the_next_source_tried(
    cut_off, served, tmp_path, monkeypatch, capsys
):
    bad = tmp_path / "bad" / "ml-100k" / "ml-100k.zip"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"something else")
    monkeypatch.setenv("DUALREC_DATA", str(tmp_path / "bad"))
    fetched = sources.fetch("ml-100k")
    assert fetched.source == "GroupLens"
    assert fetched.paths[0].read_bytes() == b"the right archive"
    aside = list((config.STATE / "rejected").iterdir())
    assert [path.read_bytes() for path in aside] == [b"something else"]
    assert "not used, a copy is kept at" in capsys.readouterr().out
    assert bad.read_bytes() == b"something else"


def test_no_source_gives_one_message_and_leaves_nothing(cut_off, tmp_path, monkeypatch):
    monkeypatch.setenv("DUALREC_DATA", str(tmp_path / "empty"))
    began = time.monotonic()
    with pytest.raises(StudyError) as raised:
        sources.fetch("ml-100k")
    assert time.monotonic() - began < 10
    message = str(raised.value)
    for part in (
        "folder: ", "GroupLens: ", "is out of reach", "RecBole 1.2.1 wheel: ",
        *known.find("ml-100k").urls.values(),
        known.find("ml-100k").sha256["ml-100k.zip"],
        "SOME_FOLDER/ml-100k/ml-100k.zip",
        "DUALREC_DATA=SOME_FOLDER",
    ):  # fmt: skip
        assert part in message
    assert not config.raw_dir("ml-100k").exists()


def test_a_server_that_never_answers_costs_no_more_than_the_limit(cut_off, monkeypatch):
    assert sources.REACH_SECONDS <= 10
    monkeypatch.setattr(sources, "REACH_SECONDS", 0.4)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/ml-1m.zip"
        use_url("ml-1m", url, monkeypatch)
        began = time.monotonic()
        with pytest.raises(StudyError, match="ml-1m could not be fetched"):
            sources.fetch("ml-1m")
        assert time.monotonic() - began < 5


def test_a_look_up_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(sources, "REACH_SECONDS", 0.1)
    released = threading.Event()
    with pytest.raises(sources.Unusable, match="did not answer within"):
        sources._probe(released.wait, "a name server")
    released.set()


def test_files_already_fetched_need_no_source_unless_they_were_edited(cut_off, tiny_folder, monkeypatch):
    folder = config.raw_dir("ml-100k")
    folder.mkdir(parents=True)
    (folder / "old.csv").write_text("left by an earlier version")
    path = sources.fetch("ml-100k").paths[0]
    assert sorted(other.name for other in folder.iterdir()) == ["source.json", "u.data", "u.item"]
    right = path.read_bytes()
    path.write_bytes(right + b"1\t1\t5\t880000000\n")
    assert sources.fetch("ml-100k").paths[0].read_bytes() == right
    shutil.rmtree(tiny_folder)
    monkeypatch.delenv("DUALREC_DATA")
    assert sources.fetch("ml-100k").source == "folder"


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b'{"source": "folder"}',
        b'{"source": "folder", "sha256": {}}',
        b'{"source": "folder", "sha256": ["u.data", "u.item"]}',
        b'{"source": "folder", "sha256": {"u.data": ""}}',
    ],
    ids=str,
)
def test_a_broken_record_is_as_good_as_none(cut_off, tiny_folder, record):
    sources.fetch("ml-100k")
    path = config.raw_dir("ml-100k") / "source.json"
    right = path.read_bytes()
    path.write_bytes(record)
    assert [place.name for place in sources.fetch("ml-100k").paths] == ["u.data", "u.item"]
    assert path.read_bytes() == right


def test_a_stray_file_beside_verified_ones_is_not_read(cut_off, tiny_folder):
    before = sources.load("ml-100k")
    folder = config.raw_dir("ml-100k")
    for name in (*known.find("ml-100k").parsers, "ratings.dat"):
        if not (folder / name).exists():
            (folder / name).write_bytes(b"anything")
    after = sources.load("ml-100k")
    assert before[0] == after[0] == "folder" and before[1].equals(after[1])
    assert before[2].drop(columns="genres").equals(after[2].drop(columns="genres"))


def test_a_record_cannot_lead_out_of_the_folder(cut_off, tiny_folder):
    sources.fetch("ml-100k")
    folder = config.raw_dir("ml-100k")
    about = files.read_json(folder / "source.json")
    outside = shutil.copytree(folder, folder.parent / "outside")
    for name in ("u.data", "u.item"):
        (folder / name).unlink()
    about["sha256"] = {f"../outside/{name}": digest for name, digest in about["sha256"].items()}
    files.write_json(about, folder / "source.json")
    fetched = sources.fetch("ml-100k")
    assert {path.parent for path in fetched.paths} == {folder} and outside.is_dir()
    assert all(path.is_file() for path in fetched.paths)


def test_a_copy_that_breaks_off_leaves_what_was_there(cut_off, tiny_folder, monkeypatch):
    folder = config.raw_dir("ml-100k")
    sources.fetch("ml-100k")
    (folder / "u.item").write_bytes(b"edited")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    real = shutil.copyfile

    def full(source, target, **options):
        if str(target).endswith("u.item"):
            raise OSError("no space left")
        return real(source, target, **options)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="no space left"):
        sources.fetch("ml-100k")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["ml-100k"]


# Fetches with slow copies, once the other process is there too; names what it copies.
FETCHER = """
import os, shutil, sys, time
from pathlib import Path
from dualrec_utils.core import config
from dualrec_utils.datasets import known, sources
from dualrec_utils.studies.nir import recordings

root, me, other, checksums = Path(sys.argv[1]), sys.argv[2], sys.argv[3], eval(sys.argv[4])
config.RAW = root / "raw"
known.find("ml-100k").sha256.update(checksums)
recordings.SHA256 = {name: checksums[name] for name in recordings.SHA256}
real = shutil.copyfile

def slow(source, target, **options):
    print("copies", Path(source).name, flush=True)
    time.sleep(0.7)
    return real(source, target, **options)

shutil.copyfile = slow
(root / me).touch()
while not (root / other).exists():
    time.sleep(0.01)
print(sources.fetch("ml-100k").source)
recordings.URL = "http://127.0.0.1:9/"
recordings.fetch()
"""


def test_two_processes_fetch_once(tmp_path, tiny_folder, monkeypatch):
    checksums = {name: known.find("ml-100k").sha256[name] for name in ("u.data", "u.item")}
    published = tiny_folder / recordings.DATASET
    published.mkdir()
    for name in recordings.SHA256:
        (published / name).write_text(name)
        checksums[name] = files.sha256(published / name)
    command = [sys.executable, "-c", FETCHER, str(tmp_path)]
    pair = [
        subprocess.Popen([*command, *names, repr(checksums)], stdout=subprocess.PIPE, text=True)
        for names in (("one", "two"), ("two", "one"))
    ]
    said = [process.communicate(timeout=120)[0].splitlines() for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert [lines.count("folder") for lines in said] == [1, 1]
    copied = sorted(line for lines in said for line in lines if line.startswith("copies"))
    assert copied == sorted(f"copies {name}" for name in checksums)
    assert any("waiting" in line for lines in said for line in lines)
    for dataset in ("ml-100k", recordings.DATASET):
        for path in (tiny_folder / dataset).iterdir():
            assert (tmp_path / "raw" / dataset / path.name).read_bytes() == path.read_bytes()
