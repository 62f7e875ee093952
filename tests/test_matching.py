"""Text to movie: normal form, years, threshold."""

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import config, files
from dualrec_utils.models.language import matching, matching_quality


def catalog(*rows):
    frame = pd.DataFrame(rows, columns=["item_id", "title", "year"])
    return frame.astype({"year": "Int64"})


ITEMS = catalog(
    (1, "Matrix, The", 1999),
    (2, "Sabrina", 1995),
    (3, "Sabrina", 1954),
    (4, "Misérables, Les", 1995),
    (5, "Tin Drum, The (Blechtrommel, Die)", 1979),
    (6, "M*A*S*H", 1970),
    (7, "Unnamed Year", None),
    (8, "Usual Suspects, The", 1995),
    (9, "Breakfast at Tiffany's", 1961),
)


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("The Matrix (1999)", 1),
        ("matrix, the", 1),
        ("THE MATRIX [2000] (Action, Sci-Fi)", 1),
        ("The Matrix (2003)", None),
        ("Sabrina (1954)", 3),
        ("Sabrina (1994)", 2),
        ("Sabrina", 2),
        ("Les Miserables (1995)", 4),
        ("Die Blechtrommel (1979)", 5),
        ("The Tin Drum", 5),
        ("MASH (1970)", 6),
        ("Unnamed Year (1950)", 7),
        ("The Usual Suspect (1995)", 8),
        ("Breakfast At Tiffanys", 9),
        ("Completely Different Film (1995)", None),
        ("", None),
        ("(1995)", None),
        ("!!!", None),
        ("千と千尋", None),
    ],
)
def test_texts_find_their_movie_or_none(text, item):
    assert matching.TitleMatcher(ITEMS, threshold=85).match(text) == item


def test_threshold_decides_over_a_typo():
    # One letter of eleven lost: similarity 2 * 9 / (9 + 10) * 100 = 94.7.
    assert matching.TitleMatcher(ITEMS, threshold=94).match("The Matri (1999)") == 1
    assert matching.TitleMatcher(ITEMS, threshold=95).match("The Matri (1999)") is None


def test_row_order_does_not_matter():
    texts = ["Sabrina", "Sabrina (1955)", "Matrix", "Usual Suspects (1995)"]
    forward, backward = (matching.TitleMatcher(items, threshold=80) for items in (ITEMS, ITEMS.iloc[::-1]))
    assert [forward.match(text) for text in texts] == [backward.match(text) for text in texts]


@given(st.text(max_size=80))
def test_any_text_matches_a_catalog_movie_or_none(text):
    found = matching.TitleMatcher(ITEMS, threshold=85).match(text)
    assert found is None or found in set(ITEMS["item_id"])


def test_measured_shares_on_three_texts():
    texts = pd.DataFrame(
        {
            "kind": ["a", "a", "outside"],
            "text": ["The Matrix (1999)", "Sabrina", "The Matrixx (1999)"],
            "item_id": pd.array([1, 3, None], dtype="Int64"),
        }
    )
    table = matching_quality.measure_thresholds(ITEMS, texts, thresholds=[80, 101]).set_index(
        ["threshold", "kind"]
    )
    # "Sabrina" alone goes to the lower id, which is not the one meant.
    assert table.loc[(80, "a"), ["right", "wrong", "refused"]].tolist() == [0.5, 0.5, 0.0]
    assert table.loc[(80, "outside"), ["right", "wrong"]].tolist() == [0.0, 1.0]
    assert table.loc[(101, "outside"), ["right", "refused"]].tolist() == [1.0, 1.0]


def test_precision_and_recall_on_five_texts():
    texts = pd.DataFrame(
        {
            "kind": ["a", "a", "b", "not in catalog", "not in catalog, no year"],
            "text": ["The Matrix (1999)", "Sabrina", "Usual Suspect", "The Matrixx (1999)", "Elsewhere"],
            "item_id": pd.array([1, 3, 8, None, None], dtype="Int64"),
        }
    )
    table = matching_quality.measure_thresholds(ITEMS, texts, thresholds=[80, 101])
    measured = matching_quality.precision_recall(table).set_index("threshold")
    # At 80: right are The Matrix and the Usual Suspects; wrong the other Sabrina and the outsider Matrixx.
    assert measured.loc[80, ["precision", "recall"]].tolist() == pytest.approx([2 / 4, 2 / 3])
    assert measured.loc[80, ["n_matches", "n_texts"]].tolist() == [4, 3]
    # At 101 only equal forms match: The Matrix, and a Sabrina.
    assert measured.loc[101, ["precision", "recall"]].tolist() == pytest.approx([1 / 2, 1 / 3])


def test_precision_without_a_match_is_one_and_recall_needs_a_movie():
    row = {"threshold": 101, "kind": "typo", "n": 2, "right": 0.0, "wrong": 0.0, "refused": 1.0}
    measured = matching_quality.precision_recall(pd.DataFrame([row]))
    assert measured[["precision", "recall"]].to_numpy().tolist() == [[1.0, 0.0]]
    with pytest.raises(ValueError, match="no text"):
        matching_quality.precision_recall(pd.DataFrame([row | {"kind": "not in catalog"}]))


def test_outsiders_are_the_movies_whose_title_the_catalog_lacks(root):
    movies = catalog((1, "Alpha", 1990), (2, "Alpha", 1991), (3, "Bravo", None))
    files.write_parquet(movies, config.processed_dir("toy") / "items_raw.parquet")
    outside = matching_quality.outsiders("toy", catalog((1, "Alpha", 1990), (9, "Bravo", None)))
    # Another year is another movie; another id with the same title and year is not.
    assert outside["item_id"].tolist() == [2]


def test_perturbed_titles_are_the_same_for_the_same_seed():
    outside = catalog((50, "Elsewhere", 1990))
    first = matching_quality.perturbed_titles(ITEMS, outside, seed=1)
    pd.testing.assert_frame_equal(first, matching_quality.perturbed_titles(ITEMS, outside, seed=1))
    assert (first["text"] != matching_quality.perturbed_titles(ITEMS, outside, seed=2)["text"]).any()
    assert first.groupby("kind").size().to_dict()["not in catalog"] == 1
    typos = first[first["kind"] == "one typo"]
    assert (
        typos["text"].to_numpy() != first.loc[first["kind"] == "as written", "text"].to_numpy()
    ).mean() > 0.7
