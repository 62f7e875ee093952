"""Movies, their columns and their names: one catalog for all of them, which nobody can change."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from toy_catalog import catalog_of

from dualrec_utils.core import catalog as catalogs
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import GENRE_LIST, ITEM, TITLE, YEAR
from dualrec_utils.core.errors import StudyError

ITEMS = pd.DataFrame(
    {
        ITEM: [3, 7, 9],
        TITLE: ["Heat", "Babe", "Fargo"],
        YEAR: pd.array([1995, None, 1996], dtype="Int64"),
        GENRE_LIST: [np.array(["Crime", "Drama"]), np.array([]), np.array(["Crime"])],
    }
)
CATALOG = Catalog.of(ITEMS)
IDS = st.sets(st.integers(0, 10**12), min_size=1, max_size=30).map(sorted)


def test_a_catalog_worked_by_hand():
    assert len(CATALOG) == 3 and CATALOG.ids.dtype == np.int64
    assert dict(CATALOG.names) == {3: "Heat (1995)", 7: "Babe", 9: "Fargo (1996)"}
    assert dict(CATALOG.categories) == {3: ("Crime", "Drama"), 7: (), 9: ("Crime",)}
    assert list(CATALOG.names) == list(CATALOG.categories) == CATALOG.ids.tolist() == [3, 7, 9]
    assert CATALOG.items is ITEMS
    assert CATALOG.columns([9, 3, 7, 3]).tolist() == [2, 0, 1, 0]
    assert CATALOG.rows([9, 3, 7, 3]).tolist() == [3, 1, 2, 1]
    assert CATALOG.columns([]).tolist() == CATALOG.rows([]).tolist() == []


@pytest.mark.parametrize("stranger", [2, 4, 10])
def test_a_movie_outside_the_catalog_is_named(stranger):
    for ask in (CATALOG.columns, CATALOG.rows, lambda items: catalogs.marked([[9], items], CATALOG.ids)):
        with pytest.raises(StudyError, match=f"item {stranger} is not in the catalog of 3 items"):
            ask([3, stranger, 9])


def test_marks_stand_where_a_list_names_a_movie():
    marks = catalogs.marked([[9, 3, 9], [], np.array([7])], CATALOG.ids)
    assert marks.tolist() == [[True, False, True], [False] * 3, [False, True, False]]
    assert catalogs.marked([], CATALOG.ids).shape == (0, 3)


def test_nobody_changes_a_catalog():
    with pytest.raises(ValueError, match="read-only"):
        CATALOG.ids[0] = 1
    for table in (CATALOG.names, CATALOG.categories):
        with pytest.raises(TypeError):
            table[3] = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        CATALOG.ids = np.array([1])
    # The table's own ids stay writable, and apart.
    items = ITEMS.copy()
    copied = Catalog.of(items)
    items.loc[0, ITEM] = 1
    assert copied.ids.tolist() == [3, 7, 9]


@pytest.mark.parametrize("ids", [[], [7, 3], [3, 3]])
def test_a_table_out_of_order_is_no_catalog(ids):
    with pytest.raises(StudyError, match="ascending order"):
        catalog_of(ids)


@given(IDS, st.data())
def test_columns_and_movies_lead_back_to_each_other(ids, data):
    catalog = catalog_of(ids)
    columns = np.array(data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=20)), dtype=int)
    movies = catalog.ids[columns]
    assert (catalog.columns(movies) == columns).all()
    assert (catalog.rows(movies) == columns + 1).all()
    assert [catalog.names[movie] for movie in movies] == [f"Film {movie}" for movie in movies]


@given(IDS, st.integers(0, 10**12), st.data())
def test_marks_are_membership(ids, other, data):
    catalog = catalog_of(ids)
    lists = data.draw(st.lists(st.lists(st.sampled_from(ids), max_size=8), max_size=5))
    expected = np.array([np.isin(catalog.ids, movies) for movies in lists]).reshape(len(lists), len(ids))
    assert (catalogs.marked(lists, catalog.ids) == expected).all()
    if other not in ids:
        with pytest.raises(StudyError, match=f"item {other} is not"):
            catalogs.marked([*lists, [other]], catalog.ids)


def test_the_catalog_is_read_from_what_stage_data_wrote(tiny):
    catalog = load_catalog("ml-100k")
    assert len(catalog) == tiny["n_items"]
    assert (np.diff(catalog.ids) > 0).all()
    assert catalog.items[ITEM].tolist() == catalog.ids.tolist()


def test_a_missing_catalog_names_the_stage_to_run(root):
    with pytest.raises(StudyError, match="run `dvc repro data` first"):
        load_catalog("ml-100k")
