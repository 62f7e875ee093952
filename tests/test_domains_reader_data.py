"""A reader's own data, by parameters alone."""

import dataclasses
import io

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import config, order
from dualrec_utils.core.catalog import load_catalog
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
from dualrec_utils.core.splits import load_interactions
from dualrec_utils.datasets import known, prepare, reader_data
from dualrec_utils.datasets.reader_data import Source
from dualrec_utils.pipeline import params

BUYS = """\
when,customer,sku,stars,note
2021-03-01,ann,B7,5,
2021-03-01,ann,A1,3.5,
2021-03-04,ann,B7,1,again
2021-03-02,bob,A1,2,
"""
GOODS = """\
sku,name,kinds,made
A1,Tea &amp; co,"['hot', 'drink', 'hot']",1990
B7,Café,['drink'],
C9,1984,[],2001
"""
SOURCE = Source(
    interactions="buys.csv", user="customer", item="sku", time="when", rating="stars", items="goods.csv",
    title="name", categories="kinds", year="made",
)  # fmt: skip


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Writes the two files, some text of them replaced, and reads them."""
    monkeypatch.setattr(config, "ROOT", tmp_path)

    def read(source=SOURCE, buys=BUYS, goods=GOODS):
        (tmp_path / "buys.csv").write_text(buys, encoding="utf-8")
        (tmp_path / "goods.csv").write_text(goods, encoding="utf-8")
        return reader_data.read(source)

    return read


def named(parsed, column=ITEM):
    """(user, code of the item) of every row, in the order of the rows."""
    return list(
        zip(
            parsed.ratings[USER],
            parsed.ratings[ITEM].map(parsed.items.set_index(ITEM)["code"]),
            strict=True,
        )
    )


def test_what_two_csv_files_are_read_as(put):
    parsed = put()
    assert named(parsed) == [(1, "B7"), (1, "A1"), (2, "A1")]
    assert parsed.ratings[TIMESTAMP].tolist() == [1_614_556_800, 1_614_556_800, 1_614_643_200]
    assert parsed.ratings[RATING].tolist() == [5, 3.5, 2]
    goods = parsed.items.set_index("code").sort_index()
    assert goods[TITLE].tolist() == ["Tea & co", "Café", "1984"]
    assert goods[GENRE_LIST].tolist() == [["hot", "drink"], ["drink"], []]
    assert goods[YEAR].tolist()[::2] == [1990, 2001] and pd.isna(goods[YEAR].iloc[1])
    assert parsed.counts["n_repeats_left_out"] == 1


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_what_stands_between_columns_is_read_from_the_header(put, delimiter):
    expected = put()
    goods = pd.read_csv(io.StringIO(GOODS), dtype=str).to_csv(sep=delimiter, index=False)
    parsed = put(buys=BUYS.replace(",", delimiter), goods=goods)
    pd.testing.assert_frame_equal(parsed.ratings, expected.ratings)
    pd.testing.assert_frame_equal(parsed.items, expected.items)


def test_parquet_files_are_read_as_the_csv_files_are(put, tmp_path):
    expected = put()
    buys, goods = pd.read_csv(tmp_path / "buys.csv"), pd.read_csv(tmp_path / "goods.csv")
    buys.assign(when=pd.to_datetime(buys["when"])).to_parquet(tmp_path / "buys.parquet")
    kinds = [["hot", "drink", "hot"], ["drink"], None]
    goods.assign(kinds=kinds).to_parquet(tmp_path / "goods.parquet")
    parsed = put(dataclasses.replace(SOURCE, interactions="buys.parquet", items="goods.parquet"))
    pd.testing.assert_frame_equal(parsed.ratings, expected.ratings)
    pd.testing.assert_frame_equal(parsed.items, expected.items)


def test_titles_may_stand_beside_interactions_and_categories_be_text(put):
    buys = "who,place,what,kind\n1,1,Tea,hot/drink\n1,1,Mug,\n1,2,Rug,home\n2,1,Tea,hot\n"
    source = Source(
        interactions="buys.csv",
        user="who",
        item="what",
        title="what",
        order="place",
        categories="kind",
        separator="/",
    )
    parsed = put(source, buys)
    assert parsed.items.set_index("code")[GENRE_LIST].to_dict() == {
        "Mug": [],
        "Rug": ["home"],
        "Tea": ["hot", "drink"],
    }
    assert parsed.ratings[TIMESTAMP].isna().all()
    assert parsed.ratings[POSITION].tolist() == [0, 0, 1, 0]
    # Equal places are a tie, which the study's draw decides.
    assert order.in_order(parsed.ratings, order_seed=0)[SECOND].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("buys", "goods", "message"),
    [
        (
            BUYS.replace("customer", "client"),
            GOODS,
            r"buys\.csv lacks the columns customer; it has when, client, sku",
        ),
        (
            BUYS.replace(",", ":"),
            GOODS,
            r"lacks the columns customer, sku, when, stars; it has when:customer",
        ),
        (
            BUYS.replace("note", "sku"),
            GOODS,
            r"buys\.csv has several columns named sku: leave one",
        ),
        (
            BUYS,
            GOODS.replace("name", "label"),
            r"goods\.csv lacks the columns name; it has sku, label, kinds, made",
        ),
        (
            BUYS + "2021-03-01,ann,B7,2,\n",
            GOODS,
            r"buys\.csv lines 2 and 6: user 'ann' takes item 'B7' twice at one time",
        ),
        (
            BUYS + "2021-03-09,bob,Z9,2,\n",
            GOODS,
            r"line 6: item 'Z9' is not in goods\.csv \(1 such lines\)",
        ),
        (BUYS + "2021-03-09,,B7,2,\n", GOODS, "line 6: customer is ''; allowed: an id"),
        (BUYS + "2021-03-09,bob,B7,good,\n", GOODS, "line 6: stars is 'good'; allowed: a number"),
        (
            BUYS + "yesterday,bob,B7,2,\n",
            GOODS,
            "line 6: when is 'yesterday'; allowed: a date as",
        ),
        (
            BUYS + "1614556800,bob,B7,2,\n",
            GOODS,
            r"line 6: when is '1614556800'; allowed: a date as .* \(1 such lines\)",
        ),
        (
            BUYS.replace("2021-03-0", "161455680") + "2021-03-01,bob,B7,2,\n",
            GOODS,
            r"line 6: when is '2021-03-01'; allowed: a number, .* \(1 such lines\)",
        ),
        (
            BUYS.replace("2021-03-0", "-") + "yesterday,bob,B7,2,\n",
            GOODS,
            "line 6: when is 'yesterday'; allowed: a number",
        ),
        (
            BUYS.replace("2021-03-0", "161455680"),
            GOODS.replace("Café", ""),
            r"goods\.csv line 3: name is ''; allowed: a title",
        ),
        (
            BUYS,
            GOODS.replace("Tea &amp; co", "12").replace("Café", "13"),
            "line 2: name is '12'; allowed: titles: this column",
        ),
        (BUYS, GOODS.replace("1990", "soon"), "line 2: made is 'soon'; allowed: a year"),
        (BUYS, GOODS.replace("['drink']", "['drink'"), r"line 3: kinds is \"\['drink'\"; allowed: a list"),
        (BUYS, GOODS + "A1,Tea again,[],\n", "line 5: sku is 'A1'; allowed: each item once"),
        (BUYS.split("\n")[0] + "\n", GOODS, r"buys\.csv holds no interaction"),
        ("", GOODS, r"buys\.csv cannot be read"),
        (BUYS + "1,2,3,4,5,6\n", GOODS, r"buys\.csv cannot be read .*Row #6: Expected 5 columns, got 6"),
    ],
)
def test_what_cannot_be_used_is_one_message_with_its_place(put, buys, goods, message):
    with pytest.raises(StudyError, match=message):
        put(buys=buys, goods=goods)


def test_a_file_that_is_not_there_is_named(put):
    with pytest.raises(StudyError, match=r"there is no file .*other\.csv"):
        put(dataclasses.replace(SOURCE, interactions="other.csv"))


def test_more_rows_than_fit_are_refused_before_all_are_read(put, monkeypatch, tmp_path):
    monkeypatch.setattr(reader_data, "MOST_ROWS", 3)
    with pytest.raises(StudyError, match=r"buys\.csv has more than 3 rows"):
        put()
    pd.read_csv(tmp_path / "buys.csv").to_parquet(tmp_path / "buys.parquet")
    with pytest.raises(StudyError, match=r"buys\.parquet has more than 3 rows"):
        put(dataclasses.replace(SOURCE, interactions="buys.parquet"))


@given(
    st.lists(st.integers(10**8, 5 * 10**9), min_size=1, max_size=20),
    st.sampled_from(["seconds", "milliseconds", "microseconds", "nanoseconds"]),
    st.booleans(),
)
def test_times_in_any_unit_are_the_same_seconds(times, unit, as_text):
    values = pd.Series([time * reader_data._UNITS[unit] for time in times], name="when")
    read = reader_data.seconds(values.astype("str") if as_text else values, name="f")
    # Nanoseconds as text pass through floating point.
    assert (read - pd.Series(times)).abs().max() <= (unit == "nanoseconds")


@given(st.integers(10**8, 5 * 10**9), st.integers(10**8, 5 * 10**9))
def test_two_units_in_one_column_are_an_error_that_names_both(one, other):
    values = pd.Series([one, other, other * 1000], name="when", index=[2, 3, 4])
    with pytest.raises(StudyError, match=r"2 in seconds \(line 2\) and 1 in milliseconds \(line 4\)"):
        reader_data.seconds(values, name="f")


@pytest.mark.parametrize("value", [0, 7, -1, 10**25])
def test_numbers_that_are_no_times_are_refused(value):
    with pytest.raises(StudyError, match=r"f line 3: when is .* a mere order is named as `order`"):
        reader_data.seconds(pd.Series([1_600_000_000, value], name="when", index=[2, 3]), name="f")


# From params.yaml to the catalog.

TEXT = (config.PACKAGE_ROOT / "params.yaml").read_text(encoding="utf-8")
NAMED = """  source:
    interactions: buys.csv
    user: customer
    item: sku
    time: when
    title: name
    items: goods.csv
"""


def with_params(folder, dataset="my-shop", source=NAMED):
    lines = [line for line in TEXT.splitlines(keepends=True) if not line.startswith("  source:")]
    text = "".join(lines).replace("dataset: ml-100k ", f"dataset: {dataset} ", 1)
    (folder / "params.yaml").write_text(
        text.replace("\ndata:\n", f"\ndata:\n{source}", 1), encoding="utf-8"
    )
    return folder / "params.yaml"


def test_stage_data_reads_what_params_name(root, tmp_path):
    root.mkdir(parents=True)
    goods = [f"S{item},Thing {item}" for item in range(12)]
    buys = [
        f"{1_600_000_000 + 86_400 * day},c{user},S{(user + day) % 12}"
        for user in range(30)
        for day in range(11)
    ]
    # A customer of one item, who is left out.
    buys.append("1600000000,once,S1")
    (root / "goods.csv").write_text("\n".join(["sku,name", *goods]), encoding="utf-8")
    (root / "buys.csv").write_text("\n".join(["when,customer,sku", *buys]), encoding="utf-8")
    path = with_params(root)
    given = params.section("data", path) | {"n_items": 12}
    summary = prepare.prepare(**given)
    assert (summary["n_users_raw"], summary["n_users"], summary["n_items"]) == (31, 30, 12)
    assert summary["source"] == "buys.csv and goods.csv" and set(summary["sha256"]) == {
        "buys.csv",
        "goods.csv",
    }
    assert set(load_catalog("my-shop").names.values()) == {f"Thing {item}" for item in range(12)}
    assert load_interactions("my-shop")[RATING].isna().all()
    assert known.find("my-shop") is known.READER_DATA
    # A catalog of one.
    (root / "buys.csv").write_text("when,customer,sku\n1600000000,a,S1\n", encoding="utf-8")
    with pytest.raises(StudyError, match="1 items have ratings: a catalog takes 10 or more"):
        prepare.prepare(**given)


@pytest.mark.parametrize(
    ("dataset", "source", "message"),
    [
        ("my-shop", "  source: null\n", "there is no data set 'my-shop'"),
        ("ml-100k", NAMED, "ml-100k is a name that the study knows"),
        ("My shop", NAMED, "dataset is 'My shop'"),
        ("my-shop", NAMED.replace("    time: when\n", ""), "name one of time and order"),
        ("my-shop", NAMED + "    order: when\n", "name one of time and order"),
        ("my-shop", NAMED.replace("customer", "7"), "data.source.user is 7"),
        ("my-shop", NAMED.replace("title: name", "titel: name"), "did you mean title"),
    ],
)
def test_params_name_what_is_amiss(tmp_path, dataset, source, message):
    with pytest.raises(StudyError) as caught:
        params.load(with_params(tmp_path, dataset, source))
    assert message in str(caught.value)
