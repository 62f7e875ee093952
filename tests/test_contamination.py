"""The contamination probe: lines as the files have them; models that know them, guess or know nothing."""

from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from tiny_models import tiny_mistral

from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known
from dualrec_utils.models.language import contamination, loading

N = 40
ITEMS = pd.DataFrame(
    {
        "item_id": range(1, N + 1),
        "title": [f"Film {number}" for number in range(1, N + 1)],
        "year": pd.array(
            [None if number == 7 else 1980 + number % 15 for number in range(N)], dtype="Int64"
        ),
        "genres": [["Drama", "War"]] * N,
    }
)
RATINGS = pd.DataFrame(
    {"user_id": [3, 1] * 15, "item_id": range(1, 31), "rating": 4.0, "timestamp": range(100, 130)}
).astype({"rating": "Float64", "timestamp": "Int64"})


FORMATS = {name: known.find(name).line_format for name in ("ml-100k", "ml-1m")}


def knows(lines):
    """A model that has read a file: it writes the line after the last one shown, else nothing."""
    following = dict(pairwise(lines))

    def ask(prompts, *, label):
        return [f"\n {following.get(prompt.strip().splitlines()[-1], '?')} \nmore" for prompt in prompts]

    return ask


def silent(prompts, *, label):
    return [""] * len(prompts)


def test_lines_are_written_as_the_files_have_them():
    assert contamination.item_lines(ITEMS.head(1), line_format=FORMATS["ml-100k"]) == ["1|Film 1 (1980)"]
    assert contamination.item_lines(ITEMS.head(1), line_format=FORMATS["ml-1m"]) == [
        "1::Film 1 (1980)::Drama|War"
    ]
    assert contamination.rating_lines(RATINGS.head(2), line_format=FORMATS["ml-100k"]) == [
        "3\t1\t4\t100",
        "1\t2\t4\t101",
    ]
    assert contamination.rating_lines(RATINGS.head(1), line_format=FORMATS["ml-1m"]) == ["3::1::4::100"]
    halves = RATINGS.head(2).assign(rating=[0.5, 4.0])
    assert contamination.rating_lines(halves, line_format=FORMATS["ml-1m"]) == [
        "3::1::0.5::100",
        "1::2::4.0::101",
    ]


def test_missing_values_and_short_files_are_refused():
    with pytest.raises(StudyError, match="lack stars"):
        contamination.rating_lines(RATINGS.assign(timestamp=pd.NA), line_format=FORMATS["ml-1m"])
    with pytest.raises(StudyError, match="more than the 40 shown"):
        contamination.continuations(
            ["x"] * 40, silent, file="u.item", n_shown=40, n_probes=5, seed=1, label=""
        )
    with pytest.raises(StudyError, match="3 items have a year"):
        contamination.probe_years(ITEMS.head(3), silent, seed=1)


def test_the_control_deals_every_id_to_one_movie():
    dealt = contamination.with_permuted_ids(ITEMS, seed=1)
    assert sorted(dealt["item_id"]) == sorted(ITEMS["item_id"])
    assert (dealt["item_id"] != ITEMS["item_id"]).any()
    assert dealt["title"].equals(ITEMS["title"])
    ratings = contamination.with_permuted_ids(RATINGS, seed=1)
    assert ratings["item_id"].nunique() == RATINGS["item_id"].nunique()


def test_a_model_that_has_read_the_file_is_told_from_one_that_has_not():
    read = knows(contamination.item_lines(ITEMS, line_format=FORMATS["ml-100k"]))
    shape = {"line_format": FORMATS["ml-100k"], "n_shown": 5, "n_probes": 20, "seed": 3}
    table, answers = contamination.probe_records(ITEMS, RATINGS, read, **shape)
    shares = table.set_index(["file", "ids"])["verbatim"]
    assert shares[("u.item", "as published")] == 1.0
    # Ids that the permutation leaves in place may still be followed by their own next line.
    assert shares[("u.item", "permuted")] <= 0.1
    assert shares[("u.data", "as published")] == shares[("u.data", "permuted")] == 0.0
    assert (table["low"] <= table["verbatim"]).all() and (table["verbatim"] <= table["high"]).all()
    assert len(answers) == table["n"].sum() == 80
    nothing, _ = contamination.probe_records(ITEMS, None, silent, **shape)
    assert nothing["verbatim"].tolist() == [0.0, 0.0]
    # Wilson's upper limit for 0 of 20: z^2 / (n + z^2) with z = 1.96.
    assert nothing["high"].tolist() == pytest.approx([1.96**2 / (20 + 1.96**2)] * 2, abs=1e-3)


def test_what_is_shown_ends_right_before_what_is_asked():
    seen = []

    def ask(prompts, *, label):
        seen.extend(prompts)
        return ["b"] * len(prompts)

    table = contamination.continuations(
        ["a", "b", "c", "d"], ask, file="u.item", n_shown=1, n_probes=9, seed=1, label="x"
    )
    assert table["place"].tolist() == [1, 2, 3]
    assert [prompt.splitlines()[-1] for prompt in seen] == ["a", "b", "c"]
    assert table["verbatim"].tolist() == [True, False, False]


def test_years_by_hand():
    items = pd.DataFrame(
        {
            "item_id": range(1, 9),
            "title": [f"Film {number}" for number in range(1, 9)],
            "year": pd.array([1989, 1990, 1990, 1991, 1992, 1990, 1990, 1990], dtype="Int64"),
        }
    )

    def says_1990(prompts, *, label):
        assert all(prompt.splitlines()[-1].startswith("- Film") for prompt in prompts)
        return [" (1990)\n- Film (1950)"] * len(prompts)

    table, answers = contamination.probe_years(items, says_1990, seed=5)
    years = answers["year"].astype(int)
    assert len(answers) == 5 and answers["answered"].eq(1990).all()
    total = table.set_index("released").loc["all"]
    assert total["exact"] == pytest.approx(np.mean(years == 1990))
    assert total["within_one"] == pytest.approx(np.mean((years - 1990).abs() <= 1))
    # Always the most common year: as good as chance says, and no better.
    assert total["exact"] == pytest.approx(total["chance"])
    unsaid, answers = contamination.probe_years(items, silent, seed=5)
    assert unsaid["exact"].eq(0).all() and answers["answered"].isna().all()


def test_the_same_seed_asks_the_same_and_changes_no_frame():
    before = ITEMS.copy(deep=True)
    first, second = (contamination.probe_years(ITEMS, silent, n_titles=10, seed=2)[1] for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    other = contamination.probe_years(ITEMS, silent, n_titles=10, seed=3)[1]
    assert first["item_id"].tolist() != other["item_id"].tolist()
    pd.testing.assert_frame_equal(ITEMS, before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("chat", [False, True])
def test_it_runs_with_a_causal_model(tmp_path, chat):
    from dualrec_utils.models.language.generation import generate

    model, tokenizer = loading.load_model(tiny_mistral(tmp_path / "tiny", chat=chat))
    ask = partial(generate, model, tokenizer, max_new_tokens=4, batch_size=8, answer_prefix="", n_lines=1)
    table, answers = contamination.probe_records(
        ITEMS, None, ask, line_format=FORMATS["ml-1m"], n_shown=2, n_probes=4, seed=1
    )
    assert table["verbatim"].tolist() == [0.0, 0.0] and len(answers) == 8
    assert contamination.probe_years(ITEMS, ask, n_titles=4, seed=1)[0]["n"].iloc[-1] == 4
