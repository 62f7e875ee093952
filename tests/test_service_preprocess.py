"""`dualrec preprocess`: what it writes, and what it refuses without writing anything."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from conftest import tiny_files

from dualrec_utils.__main__ import main
from dualrec_utils.core.errors import StudyError
from dualrec_utils.service import prepared

LEAST = ["--min-user-ratings", "2", "--min-movie-ratings", "2", "--min-tags-per-item", "0"]


@pytest.fixture
def folder(tmp_path):
    """Ten users rate two of three films each; the third film has one rating."""
    place = tmp_path / "raw"
    place.mkdir()
    rows = [f"{user},{item},4.0,{964982703 + user}" for user in range(1, 11) for item in (1, 2)]
    ratings = ["userId,movieId,rating,timestamp", *rows, "1,3,0.5,964982703"]
    movies = [
        "movieId,title,genres",
        '1,"One, The (1994)",Drama',
        "2,Two (1995),Comedy|Drama",
        "3,Three (1996),War",
    ]
    (place / "ratings.csv").write_text("\n".join(ratings) + "\n", encoding="utf-8")
    (place / "movies.csv").write_text("\n".join(movies) + "\n", encoding="utf-8")
    return place


def preprocess(folder, into, *more):
    return main(["preprocess", "--data-dir", str(folder), "--output-dir", str(into), *more])


def test_what_passes_is_cut_into_training_and_test_ratings(folder, tmp_path):
    assert preprocess(folder, tmp_path / "out", *LEAST) == 0
    read = prepared.read(tmp_path / "out")
    assert read.items["item_id"].tolist() == [1, 2]
    assert read.ratings["part"].value_counts().to_dict() == {"train": 16, "test": 4}
    assert (read.summary.n_users, read.summary.n_items, read.summary.n_test) == (10, 2, 4)
    assert read.summary.stars[0] == 0.5
    again = tmp_path / "again"
    assert preprocess(folder, again, *LEAST) == 0
    pd.testing.assert_frame_equal(prepared.read(again).ratings, read.ratings)


def test_without_tags_their_threshold_is_left_out_in_one_line(folder, tmp_path, capsys):
    log = tmp_path / "log.txt"
    assert preprocess(folder, tmp_path / "out", *LEAST[:4], "--log-file", str(log)) == 0
    assert capsys.readouterr().out == log.read_text(encoding="utf-8")
    assert log.read_text(encoding="utf-8").count("no tags") == 1


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--min-user-ratings", "500"], "largest that leave something"),
        (["--min-user-ratings", "0"], "min_user_ratings is 0"),
        (["--variant", "huge"], "tiny, small, large"),
        (["--variant", "tiny", "--min-user-ratings", "5"], "leave out min_user_ratings"),
    ],
)
def test_thresholds_that_cannot_be_leave_nothing_written(folder, tmp_path, capsys, more, match):
    assert preprocess(folder, tmp_path / "out", *more) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_log_file_is_made_with_its_folder_and_never_where_the_output_goes(folder, tmp_path, capsys):
    out, log = tmp_path / "out", tmp_path / "logs" / "new" / "log.txt"
    assert preprocess(folder, out, *LEAST, "--log-file", str(log)) == 0
    assert log.is_file()
    before = sorted(out.iterdir())
    assert preprocess(folder, out, *LEAST, "--log-file", str(out / "log.txt")) == 2
    assert "--log-file" in capsys.readouterr().err
    # It would stand in the way of the next one.
    assert sorted(out.iterdir()) == before
    assert preprocess(folder, out, *LEAST) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_log_that_cannot_be_written_is_one_message(folder, tmp_path, capsys):
    assert preprocess(folder, tmp_path / "out", *LEAST, "--log-file", "/dev/full") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_whose_name_is_no_text_is_read(folder, tmp_path, capsys):
    odd = folder.rename(tmp_path / os.fsdecode(b"raw\xff"))
    assert preprocess(odd, tmp_path / "out", *LEAST) == 0
    streams = capsys.readouterr()
    assert "raw\\udcff" in streams.out and not streams.err


def test_an_archive_must_be_unpacked_first(tmp_path, capsys):
    archive = tmp_path / "ml-latest-small.zip"
    archive.write_bytes(b"PK")
    assert preprocess(archive, tmp_path / "out") == 2
    assert f"{archive.name} is a file: unpack it" in capsys.readouterr().err


def test_a_folder_of_something_else_is_not_replaced(folder, tmp_path, capsys):
    assert preprocess(folder, folder, *LEAST) == 2
    assert "name another --output-dir" in capsys.readouterr().err
    assert (folder / "ratings.csv").is_file()
    assert preprocess(folder, tmp_path / "out", *LEAST) == 0
    assert preprocess(folder, tmp_path / "out", *LEAST) == 0


def test_data_that_are_not_prepared_or_were_changed_are_refused(folder, tmp_path):
    with pytest.raises(StudyError, match="dualrec preprocess"):
        prepared.read(folder)
    out = tmp_path / "out"
    preprocess(folder, out, *LEAST)
    ratings = pd.read_parquet(out / "ratings.parquet")
    ratings.assign(rating=1.0).to_parquet(out / "ratings.parquet")
    with pytest.raises(StudyError, match="do not belong together"):
        prepared.read(out)
    ratings.drop(columns="part").to_parquet(out / "ratings.parquet")
    with pytest.raises(StudyError, match="run `dualrec preprocess` again"):
        prepared.read(out)
    preprocess(folder, out, *LEAST)
    items = pd.read_parquet(out / "items.parquet")
    items.assign(genres=1).to_parquet(out / "items.parquet")
    with pytest.raises(StudyError, match="run `dualrec preprocess` again"):
        prepared.read(out)
    (out / "items.parquet").write_bytes(b"damaged")
    with pytest.raises(StudyError, match="run `dualrec preprocess` again"):
        prepared.read(out)


def test_an_edition_of_whole_stars_has_no_halves(tmp_path, capsys):
    for name, content in tiny_files().items():
        (tmp_path / name).write_bytes(content.replace(b"\t5\t", b"\t4.5\t", 1))
    assert preprocess(tmp_path, tmp_path / "out") == 2
    assert "4.5" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "u.data").write_bytes(tiny_files()["u.data"])
    assert preprocess(tmp_path, tmp_path / "out") == 0
    assert prepared.read(tmp_path / "out").summary.stars == (1, 2, 3, 4, 5)


def test_a_scale_that_was_changed_is_noticed(folder, tmp_path):
    out = tmp_path / "out"
    preprocess(folder, out, *LEAST)
    summary = json.loads((out / "summary.json").read_text())
    (out / "summary.json").write_text(json.dumps(summary | {"stars": [0, 10]}))
    with pytest.raises(StudyError, match="do not belong together"):
        prepared.read(out)
