"""The data sets of shops, on small files made by hand."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import use_downloads
from hypothesis import given, strategies as st

from dualrec_utils.core import config, order
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import GENRE_LIST, ITEM, POSITION, RATING, SECOND, TIMESTAMP, TITLE, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known, prepare, tidy
from dualrec_utils.datasets.sets import amazon_cds

DAY = 86_400
SHOPS = ("amazon-cds", "amazon-games", "online-retail")


def parsed(dataset, folder, contents):
    """What the files of a data set parse to; the first is the one that its parser is given."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return known.parse(dataset, folder / next(iter(contents)))


def test_a_data_set_is_one_file_and_one_record():
    """Its module, named as itself, is the only code that names it."""
    package = config.PACKAGE_ROOT / "dualrec_utils"
    # The study that compares runs names those it compares.
    code = [path for path in package.rglob("*.py") if package / "studies" not in path.parents]
    for dataset in SHOPS:
        module = dataset.replace("-", "_")
        naming = {path.stem for path in code if re.search(f"{dataset}|{module}", path.read_text())}
        assert naming <= {module}
        assert isinstance(known.find(dataset), known.Dataset)


@pytest.mark.parametrize("dataset", config.DATASETS)
def test_every_file_of_a_record_has_a_checksum(dataset):
    about = known.find(dataset)
    named = {name for names in about.files for name in names} | set(about.urls)
    assert named <= set(about.sha256)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in about.sha256.values())
    for url in about.urls.values():
        # What a branch holds may change.
        assert "githubusercontent" not in url or re.search("/[0-9a-f]{40}/", url)


# Music: windows of up to ten items and the one after.


def bought(*codes, days=None, stars=5.0):
    days = days or range(len(codes))
    return [
        (code, f"Title of {code}", stars, (17_000 + day) * DAY)
        for code, day in zip(codes, days, strict=True)
    ]


def windows_file(rows):
    """Rows of a file: (customer, purchases)."""
    table = [
        {
            "user_id": user,
            "item_asins": [one[0] for one in before],
            "item_asin": last[0],
            "history_item_title": [one[1] for one in before],
            "item_title": last[1],
            "history_rating": [one[2] for one in before],
            "rating": last[2],
            "history_timestamp": [one[3] for one in before],
            "timestamp": last[3],
        }
        for user, (*before, last) in rows
    ]
    return pd.DataFrame(table).to_csv(index=False).encode()


def cds(valid, test, genres=None):
    return {
        "valid.csv": windows_file(valid),
        "test.csv": windows_file(test),
        "sprec_name2genre.json": json.dumps(genres or {}).encode(),
    }


def test_windows_of_cds_join_to_histories(tmp_path):
    a, b = bought(*"ABCD", days=(0, 0, 1, 3)), bought("B", "A")
    ratings, items, _ = parsed(
        "amazon-cds",
        tmp_path,
        cds([("v", a[:3]), ("u", b)], [("v", a)], {"Title of A": ["CDs & Vinyl", "Pop"]}),
    )
    code = items.set_index(ITEM)["code"]
    # Users are numbered by their names, u before v.
    histories = ratings.assign(code=ratings[ITEM].map(code)).groupby(USER)["code"].agg("".join)
    assert histories.to_dict() == {1: "BA", 2: "ABCD"}
    assert ratings.loc[ratings[USER] == 2, TIMESTAMP].tolist() == [one[3] for one in a]
    assert items.set_index("code")[GENRE_LIST].to_dict() == {"A": ["Pop"], "B": [], "C": [], "D": []}


@given(st.lists(st.sampled_from("ABCDEFGHIJ"), min_size=3, max_size=40), st.integers(2, 30), st.data())
def test_any_history_comes_back_from_its_windows_and_a_gap_is_an_error(codes, first, data):
    purchases = bought(*codes)
    first = min(first, len(codes))
    cut = [
        (("u"), purchases[max(0, end - 11) : end], f"line {end}") for end in range(first, len(codes) + 1)
    ]
    begin = max(0, first - 11)
    assert amazon_cds.histories(iter(cut)) == {"u": purchases[begin:]}
    if len(cut) > 2 and len(set(codes)) == len(codes):
        lost = data.draw(st.integers(1, len(cut) - 2))
        with pytest.raises(ValueError, match=f"{cut[lost + 1][2]}: the window of u does not go on"):
            amazon_cds.histories(iter(cut[:lost] + cut[lost + 1 :]))


def test_a_gap_between_windows_names_file_and_line(tmp_path):
    a = bought(*"ABCDE")
    with pytest.raises(StudyError, match=r"test\.csv line 2: the window of v does not go on"):
        parsed("amazon-cds", tmp_path, cds([("v", a[:2])], [("v", a)]))


def test_titles_of_cds_are_cleaned_and_counted(tmp_path):
    a = bought(*"ABCA")
    fragment = '<span class="a-size-medium a-color-secondary a-text-normal'
    a[0], a[3] = ((code, fragment, *rest) for code, _, *rest in (a[0], a[3]))
    a[1] = ("B", "Bluenote Caf&eacute;", *a[1][2:])
    ratings, items, counts = parsed(
        "amazon-cds", tmp_path, cds([("v", a)], [("v", [*a, *bought("D", days=[9])])], {fragment: ["Jazz"]})
    )
    assert items.set_index("code")[TITLE].to_dict() == {
        "A": "Untitled A", "B": "Bluenote Café", "C": "Title of C", "D": "Title of D",
    }  # fmt: skip
    assert items[GENRE_LIST].map(len).sum() == 0
    assert counts == {
        "n_titles_with_html_entities": 1, "n_titles_replaced_by_code": 1, "n_repeats_left_out": 1,
    }  # fmt: skip
    assert len(ratings) == 4


@pytest.mark.parametrize(
    ("wrong", "message"), [(7.0, "column 'rating' holds 7"), (0.5, "'rating' holds 0.5")]
)
def test_ratings_of_cds_are_stars(tmp_path, wrong, message):
    a = bought("A", "B", stars=wrong)
    with pytest.raises(StudyError, match=message):
        parsed("amazon-cds", tmp_path, cds([("v", a)], [("v", [*a, *bought("C", days=[9])])]))


# Games: an order, and nothing else.

INTER = b"user_id:token\titem_id_list:token_seq\titem_id:token\n0\t2 0\t1\n1\t1\t0\n"
GAMES = b"item_id:token\ttitle:token_seq\n0\tQuake &amp; Co - PC\n1\tHalo - Xbox\n2\t Halo - PC\n"


def test_games_have_an_order_and_neither_times_nor_ratings(tmp_path):
    ratings, items, counts = parsed(
        "amazon-games", tmp_path, {"Games-6k.test.inter": INTER, "Games.item": GAMES}
    )
    titles = items.set_index(ITEM)[TITLE]
    named = ratings.assign(title=ratings[ITEM].map(titles)).groupby(USER)["title"].agg(list)
    assert named.to_dict() == {
        1: ["Halo - PC", "Quake & Co - PC", "Halo - Xbox"],
        2: ["Halo - Xbox", "Quake & Co - PC"],
    }
    assert ratings[POSITION].tolist() == [0, 1, 2, 0, 1]
    assert ratings[[RATING, TIMESTAMP]].isna().all(axis=None)
    assert counts["n_titles_with_html_entities"] == 1
    assert order.in_order(ratings, order_seed=0)[SECOND].tolist() == [0, 1, 2, 0, 1]


def test_the_platform_tells_editions_of_a_game_apart(tmp_path):
    twins = GAMES + b"3\tHALO -  PC\n"
    ratings, items, _ = parsed(
        "amazon-games", tmp_path, {"Games-6k.test.inter": INTER, "Games.item": twins}
    )
    _, kept, merged = known.movielens.merge_duplicates(ratings, items)
    assert len(merged) == 1 and sorted(kept[TITLE].str.lower()) == [
        "halo - pc",
        "halo - xbox",
        "quake & co - pc",
    ]


@given(st.permutations([str(number) for number in range(12)]))
def test_numbers_of_items_know_nothing_of_the_order_in_which_they_came(codes):
    numbers = dict(zip(codes, tidy.item_numbers(pd.Series(codes)), strict=True))
    in_order = sorted(codes, key=int)
    assert sorted(numbers.values()) == list(range(1, 13))
    assert [numbers[code] for code in in_order] == tidy.item_numbers(pd.Series(in_order)).tolist()
    assert sorted(in_order, key=numbers.get) != in_order


def test_a_game_without_a_title_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"item '9' is not in Games\.item"):
        parsed(
            "amazon-games", tmp_path, {"Games-6k.test.inter": INTER + b"2\t1 9\t0\n", "Games.item": GAMES}
        )


# Shopping: invoices.


def invoices(rows, tmp_path):
    """Rows: invoice, code, name, quantity, minute, price, customer."""
    columns = [
        "InvoiceNo",
        "StockCode",
        "Description",
        "Quantity",
        "InvoiceDate",
        "UnitPrice",
        "CustomerID",
    ]
    frame = pd.DataFrame(rows, columns=columns)
    frame["InvoiceDate"] = pd.Timestamp("2011-03-01 10:00") + pd.to_timedelta(
        frame["InvoiceDate"], unit="min"
    )
    frame.to_parquet(tmp_path / "made.parquet")
    return {"online_retail_2010-2011.parquet": (tmp_path / "made.parquet").read_bytes()}


def test_invoices_are_ties_and_first_purchases_count(tmp_path):
    rows = [
        ("1", "A", "LAMP", 1, 0, 2.0, 7.0),
        # The invoice passes a minute.
        ("1", "B", "MUG", 1, 1, 2.0, 7.0),
        ("2", "C", "RUG", 1, 5, 2.0, 7.0),
        # Another invoice of the customer in the same minute.
        ("3", "D", "BAG", 1, 5, 2.0, 7.0),
        ("4", "A", "LAMP ", 4, 9, 2.0, 7.0),
        ("4", "A", "lamp, old", 1, 9, 2.0, 8.0),
        ("C5", "B", "MUG", -1, 10, 2.0, 8.0),
        ("6", "B", "MUG", 0, 10, 2.0, 8.0),
        ("6", "B", "MUG", 1, 10, 0.0, 8.0),
        ("6", "B", "MUG", 1, 10, 2.0, None),
        ("6", "POST", "POSTAGE", 1, 10, 2.0, 8.0),
    ]
    ratings, items, counts = parsed("online-retail", tmp_path, invoices(rows, tmp_path))
    code = items.set_index(ITEM)["code"]
    placed = order.in_order(ratings, order_seed=0)
    seconds = (
        placed.assign(code=placed[ITEM].map(code))
        .groupby([USER, SECOND])["code"]
        .agg(lambda codes: "".join(sorted(codes)))
    )
    assert seconds.to_dict() == {(1, 0): "AB", (1, 1): "CD", (2, 0): "A"}
    # Written as "LAMP", "LAMP " and "lamp, old", once each: the first by alphabet.
    assert items.set_index("code").loc["A", TITLE] == "LAMP"
    expected = {
        "n_lines_cancelled": 1, "n_lines_without_quantity_or_price": 2, "n_lines_without_customer": 1,
        "n_lines_of_no_product": 1, "n_repeats_left_out": 1,
    }  # fmt: skip
    assert expected.items() <= counts.items()


def test_stage_data_runs_without_ratings_years_and_genres(root, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    lists = [rng.choice(40, size=12, replace=False) for _ in range(40)]
    rows = [f"{user}\t{' '.join(map(str, items[:-1]))}\t{items[-1]}" for user, items in enumerate(lists)]
    titles = [f"{item}\tGame {item} - PC" for item in range(40)]
    contents = {
        "Games-6k.test.inter": "\n".join([INTER.decode().split("\n")[0], *rows]).encode(),
        "Games.item": "\n".join([GAMES.decode().split("\n")[0], *titles]).encode(),
    }
    use_downloads(tmp_path / "downloads", "amazon-games", contents, monkeypatch)
    shares = {"train_share": 0.7, "validation_share": 0.15}
    summary = prepare.prepare(
        dataset="amazon-games",
        seed=1,
        order_seed=0,
        n_items=30,
        min_interactions=6,
        cases_per_user=2,
        **shares,
    )
    catalog = load_catalog("amazon-games")
    assert summary["n_items"] == len(catalog) == 30 and catalog.vocabulary == ()
    assert summary["n_cases_next_item"] == {"validation": 12, "test": 12}
