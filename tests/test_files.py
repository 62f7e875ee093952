"""Files appear whole or not at all."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.backends import replay
from dualrec_utils.report import parts as page_parts
from dualrec_utils.studies.leave_one_out import tables as leave_one_out_tables


def test_replacing_writes_whole_and_makes_the_folder(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_replacing_keeps_the_old_file_when_the_writer_fails(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="killed"), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_ends_well_leaves_how_long_it_took(tmp_path):
    path = tmp_path / "fit.json"
    with pytest.raises(RuntimeError), files.timed(path, n_epochs=3):
        raise RuntimeError("killed")
    assert not path.exists()
    with files.timed(path, n_epochs=3):
        time.sleep(0.06)
    taken = files.read_json(path)
    assert taken["n_epochs"] == 3 and 0.1 <= taken["fit_seconds"] < 60


def test_json_is_the_same_bytes_whatever_the_order_of_keys(tmp_path):
    one = files.write_json({"b": 1, "a": [0.1]}, tmp_path / "one.json")
    two = files.write_json({"a": [0.1], "b": 1}, tmp_path / "two.json")
    assert files.sha256(one) == files.sha256(two)
    assert files.read_json(one) == {"a": [0.1], "b": 1}


def test_json_refuses_values_that_are_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json({"loss": float("nan")}, tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (b"", dict, "Expecting value"),
        (b"\xff", dict, "can't decode"),
        (b'{"a": ', dict, "Expecting value"),
        (b"[1]", dict[str, int], "valid dictionary"),
        (b'{"a": 1}', list, "valid list"),
        (b'{"a": "x"}', dict[str, int], "a is 'x': .*valid integer"),
        (b'{"seconds": []}', files.Timing, r"seconds is \[\]: .*valid number"),
        (b"{}", files.Fit, "fit_seconds is .*required"),
        (b"[" * 99_999, dict, "recursion"),
        (b"9" * 5_001, int, "limit"),
    ],
)
def test_json_that_is_not_what_it_should_be_is_named(tmp_path, content, kind, reason):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=rf"{path} is cut short, damaged .*{reason}"):
        files.read_json(path, kind)


def test_a_file_that_is_not_there_is_what_the_caller_says(tmp_path):
    assert files.read_json(tmp_path / "x.json", missing={}) == {}
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "x.json")
    with pytest.raises(IsADirectoryError):
        files.read_json(tmp_path, missing={})


def test_a_line_and_a_table_that_cannot_be_read_are_named(tmp_path):
    path = files.write_text('{"a": 1}\n{"a": ', tmp_path / "x.jsonl")
    with pytest.raises(StudyError, match=r"x\.jsonl is cut short, .*line 2: "):
        files.read_jsonl(path)
    path = files.write_parquet(pd.DataFrame({"a": [1]}), tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StudyError, match=r"x\.parquet cannot be read .*dvc repro -f eda"):
        files.read_parquet_of("eda", path)


def array_bytes(path):
    np.save(path, np.zeros((2, 3), np.float32))
    return path.read_bytes()


@pytest.mark.parametrize(
    "damaged",
    [
        lambda whole: b"",
        lambda whole: whole[:60],
        lambda whole: whole[:-4],
        lambda whole: b"no array at all",
        lambda whole: whole.replace(b"(2, 3)", b"(2, 3 "),
    ],
)
def test_an_array_that_cannot_be_read_is_named(tmp_path, damaged):
    path = tmp_path / "x.npy"
    with pytest.raises(StudyError, match=r"x\.npy is not there: run `dvc repro lstm`"):
        files.read_array_of("lstm", path)
    path.write_bytes(damaged(array_bytes(path)))
    with pytest.raises(StudyError, match=r"(?s)x\.npy cannot be read .*dvc repro -f lstm"):
        files.read_array_of("lstm", path)


@given(
    rows=st.lists(st.dictionaries(st.text(min_size=1), st.text() | st.integers(), max_size=3), max_size=4)
)
def test_jsonl_reads_back_what_was_written(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("jsonl") / "x.jsonl"
    assert files.read_jsonl(files.write_jsonl(rows, path)) == rows


def test_parquet_leaves_the_index_out(tmp_path):
    frame = pd.DataFrame({"a": [1, 2]}, index=[5, 6])
    back = pd.read_parquet(files.write_parquet(frame, tmp_path / "x.parquet"))
    assert list(back.columns) == ["a"]
    assert list(back.index) == [0, 1]


def test_sha256_of_known_bytes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_a_killed_write_leaves_is_no_result(tmp_path, monkeypatch):
    """A process that is killed cannot take its temporary file away."""
    monkeypatch.setattr(config, "STUDIES", tmp_path)
    folder = config.study_dir("leave_one_out") / "ml-1m"
    folder.mkdir(parents=True)
    monkeypatch.setattr(files.os, "getpid", lambda: 123)
    for name, half in (("a.csv", "model\n"), ("b.png", ""), ("c.jsonl", "{")):
        with monkeypatch.context() as killed:
            killed.setattr(type(folder), "unlink", lambda *_, **__: None)
            with pytest.raises(RuntimeError), files.replacing(folder / name) as temporary:
                temporary.write_text(half)
                raise RuntimeError("killed")
    assert sorted(path.name for path in folder.iterdir()) == [".123.a.csv", ".123.b.png", ".123.c.jsonl"]
    assert page_parts.read_tables(folder) == page_parts.read_figures(folder) == []
    with pytest.raises(StudyError, match="has no table"):
        leave_one_out_tables.read_rows("ml-1m")
    with pytest.raises(StudyError, match="no recorded answers"):
        replay.read_recordings(folder)
