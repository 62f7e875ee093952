"""When does knowledge help: what is drawn, taken out, asked and tabulated, by hand and on toy data."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from toy_catalog import catalog_of

from dualrec_utils.core import config
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, SECOND, TITLE, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.studies.knowledge import (
    fitting,
    material,
    plan,
    settings as study_settings,
    tables,
    words,
)
from dualrec_utils.studies.knowledge.material import AMONG, CATALOG, COLD, HIDDEN, STRATUM
from dualrec_utils.studies.knowledge.plan import Job, Row

INTERVALS = {"seed": 1, "n_bootstrap": 200, "confidence": 0.95}
HISTORIES = {1: np.array([5, 6, 7]), 2: np.array([6]), 3: np.array([7, 5])}


def test_cold_items_are_drawn_from_the_classes_in_turn():
    strata = pd.Series(["head"] * 4 + ["middle"] * 4 + ["tail"] * 4, index=range(1, 13))
    # Two of the head, three of the middle and one of the tail have three ratings.
    counts = pd.Series({1: 9, 2: 3, 3: 2, 5: 3, 6: 4, 7: 8, 9: 5, 10: 2, 11: 1})
    drawn = material.draw_cold(counts, strata, n=5, least=3, seed=0)
    assert drawn[STRATUM].value_counts().to_dict() == {"head": 2, "middle": 2, "tail": 1}
    assert set(drawn.loc[drawn[STRATUM] == "head", ITEM]) == {1, 2}
    assert drawn[ITEM].is_monotonic_increasing and set(drawn[ITEM]) <= {1, 2, 5, 6, 7, 9}
    assert drawn.set_index(ITEM)["n_test_ratings"].to_dict() == {i: counts[i] for i in drawn[ITEM]}
    # Two of three in the middle, another seed another pair.
    middle = [
        frozenset(result.loc[result[STRATUM] == "middle", ITEM])
        for result in (material.draw_cold(counts, strata, n=5, least=3, seed=seed) for seed in range(9))
    ]
    assert len(set(middle)) > 1 and all(len(pair) == 2 for pair in middle)
    # No more than there are, and half of the catalog at most.
    assert len(material.draw_cold(counts, strata, n=100, least=3, seed=0)) == 6
    assert len(material.draw_cold(strata.map(lambda _: 9), strata, n=100, least=3, seed=0)) == 6
    with pytest.raises(StudyError, match="no item has 10 ratings by test users, the most is 9"):
        material.draw_cold(counts, strata, n=5, least=10, seed=0)


def test_items_are_taken_out_and_one_that_is_left_is_named():
    kept = material.without(HISTORIES, [6])
    assert {user: list(history) for user, history in kept.items()} == {1: [5, 7], 3: [7, 5]}
    material.check_taken_out(kept, [6])
    with pytest.raises(StudyError, match="item 6 is cold, and stands among the items of 1"):
        material.check_taken_out(HISTORIES, [6])
    assert material.without(HISTORIES, []).keys() == HISTORIES.keys()


def test_a_share_of_the_users_lies_within_the_larger_ones():
    histories = {user: np.array([user]) for user in range(1, 41)}
    by_share = [material.share_of(histories, share, seed=3, draw=0) for share in (0.001, 0.05, 0.2, 1.0)]
    assert [len(result) for result in by_share] == [1, 2, 8, 40]
    for small, large in itertools.pairwise(by_share):
        assert small.keys() <= large.keys()
    assert by_share[2].keys() != material.share_of(histories, 0.2, seed=3, draw=1).keys()
    assert list(by_share[3]) == list(histories)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_a_cold_case_shows_earlier_seconds_alone(rows, n, seed):
    rows = sorted(rows)
    # Seconds without gaps, as the run counts them; a cold item has an odd id.
    seconds = pd.Series([second for second, _ in rows]).rank(method="dense").astype(int) - 1
    items = [2 * place + cold for place, (_, cold) in enumerate(rows)]
    frame = pd.DataFrame({USER: 7, ITEM: items, SECOND: seconds})
    cold = [item for item in items if item % 2]
    cases, targets = material.cold_cases(frame, [7], cold, n=n, seed=seed)
    possible = frame[frame[ITEM].isin(cold) & (frame[SECOND] > 0)]
    assert len(cases) == min(n, len(possible)) and cases[CASE].is_unique
    for case, history in zip(cases[CASE], cases[HISTORY], strict=True):
        (target,) = targets[case]
        assert target in set(possible[ITEM])
        at = frame.set_index(ITEM)[SECOND][target]
        assert list(history) == frame.loc[frame[SECOND] < at, ITEM].tolist()
    assert material.cold_cases(frame, [8], cold, n=n, seed=seed)[0].empty


def test_a_case_is_asked_in_the_catalog_and_among_cold_items_alone():
    cases = pd.DataFrame({CASE: ["x"], USER: [1], HISTORY: [np.array([1, 4])]})
    posed, targets = material.questions(cases, pd.Series({"x": [2]}), catalog_of([1, 2, 3, 4]), [2, 4])
    assert posed[AMONG].tolist() == [CATALOG, COLD]
    # 4 is cold and was seen.
    assert [list(hidden) for hidden in posed[HIDDEN]] == [[1, 4], [1, 3, 4]]
    assert [targets[case] for case in posed[CASE]] == [[2], [2]]
    posed, _ = material.questions(cases, pd.Series({"x": [2]}), catalog_of([1, 2, 3, 4]))
    assert posed[AMONG].tolist() == [CATALOG]


@given(
    st.lists(st.text("abc xyz", min_size=1).filter(str.strip), min_size=1, unique=True), st.integers(0, 9)
)
def test_meaningless_names_are_new_apart_and_of_as_many_words(titles, seed):
    catalog = catalog_of(range(len(titles)), titles=titles, years=[1990] * len(titles))
    other = material.meaningless(catalog, seed=seed)
    named, known = other.items[TITLE], {word for title in titles for word in title.split()}
    assert [len(title.split()) for title in named] == [len(title.split()) for title in titles]
    new = [word.lower() for title in named for word in title.split()]
    assert len(set(new)) == len(new) and not set(new) & known
    assert list(other.ids) == list(catalog.ids) and (other.items["year"] == catalog.items["year"]).all()
    assert other.categories == catalog.categories
    assert named.tolist() == material.meaningless(catalog, seed=seed).items[TITLE].tolist()


def test_validation_without_cold_items(tiny):
    cases, targets = material.validation("ml-100k")
    item = targets[cases[CASE]].str[0].value_counts().index[0]
    fewer, _ = material.validation("ml-100k", [item])
    assert not any(item in history for history in fewer[HISTORY])
    assert set(fewer[CASE]) == {
        case
        for case, history in zip(cases[CASE], cases[HISTORY], strict=True)
        if targets[case][0] != item and set(history) - {item}
    }
    material.check_taken_out(dict(enumerate(fewer[HISTORY])), [item])


def test_a_job_with_a_cold_item_left_in_what_it_learns_from_does_not_start(tiny, monkeypatch):
    cold = load_catalog("ml-100k").ids[:5]
    asking = {"dataset": "ml-100k", "cold": cold, "seed": 1}
    given_ = fitting.learning(Job("ease", 0.5, cold=True), **asking)
    assert len(given_.train) == 14 and set(given_.cold) == set(cold)
    assert not np.isin(np.concatenate(list(given_.train.values())), cold).any()
    # A job without cold items learns from all of them.
    everything = fitting.learning(Job("ease"), **(asking | {"cold": ()})).train
    assert np.isin(np.concatenate(list(everything.values())), cold).any()
    with monkeypatch.context() as patched:
        patched.setattr(material, "without", lambda histories, items: dict(histories))
        with pytest.raises(StudyError, match="is cold, and stands among the items of"):
            fitting.learning(Job("ease", 0.5, cold=True), **asking)
    # Everything taken out, but the target of a case that stops training left in.
    cases, targets = material.validation("ml-100k", cold)
    spoilt = targets.where(
        targets.index != cases[CASE].iloc[0], pd.Series([[cold[0]]] * len(targets), targets.index)
    )
    monkeypatch.setattr(material, "validation", lambda dataset, cold: (cases, spoilt))
    with pytest.raises(StudyError, match=f"stands among the items of {cases[CASE].iloc[0]}"):
        fitting.learning(Job("ease", 0.5, cold=True), **asking)


def test_a_new_item_has_the_mean_of_its_nearest(monkeypatch):
    monkeypatch.setattr(fitting, "_N_NEIGHBOURS", 2)
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6], [0.6, 0.8], [-1, 0]])
    scores = np.array([[7.0, 1.0, 2.0, 4.0, 9.0]])
    # Column 0 is new: nearest are columns 2 and 3; then without column 3, which is new too.
    assert fitting.by_neighbours(scores, vectors, np.array([0])).tolist() == [[3, 1, 2, 4, 9]]
    assert fitting.by_neighbours(scores, vectors, np.array([0, 3])).tolist() == [[1.5, 1, 2, 1.5, 9]]
    assert scores[0, 0] == 7


def frame(values, among=CATALOG):
    """Users 1, 2, ... with these values of NDCG@10."""
    index = pd.MultiIndex.from_product([[among], range(1, len(values) + 1)], names=[AMONG, USER])
    return pd.DataFrame({"ndcg@10": values, "hit_rate@10": 0.5}, index=index)


def test_rows_are_means_over_draws_and_one_that_was_not_run_says_why():
    a0, a1, b0, c0 = Job("a"), Job("a", draw=1), Job("b"), Job("c")
    rows = [Row({"system": "a", "share": 1.0}, [a0, a1]), Row({"system": "b", "share": 1.0}, [b0])]
    rows += [Row({"system": "c", "share": 1.0}, [c0])]
    values = {a0: frame([0.0, 0.2]), a1: frame([0.4, 0.2]), b0: frame([0.1, 0.0])}
    result = tables.levels(rows, values, {c0: "needs a GPU"}, n_cases={CATALOG: 4}, **INTERVALS)
    one = result[result["metric"] == "ndcg@10"].set_index("system")
    assert one.loc["a", ["value", "n_users", "n_seeds", "n_cases"]].tolist() == pytest.approx(
        [0.2, 2, 2, 4]
    )
    assert one["remark"].tolist() == ["", "", "not run: needs a GPU"] and np.isnan(one.loc["c", "value"])
    pairs = [(rows[1], rows[0]), (rows[0], rows[2])]
    gains = tables.differences(pairs, values, **INTERVALS)
    # Draw 0 alone is common: users 0.1 - 0.0 and 0.0 - 0.2.
    assert gains["minus"].tolist() == ["a", "a"] and gains["value"].iloc[0] == pytest.approx(-0.05)
    assert gains["n_seeds"].tolist() == [1, 1]
    partly = tables.levels(rows[:1], {a0: frame([0.0, 0.2])}, {}, n_cases={CATALOG: 4}, **INTERVALS)
    assert partly["remark"].tolist() == ["1 of 2 draws"] * 2
    nothing = tables.levels(rows[:1], {}, {}, n_cases={CATALOG: 4}, **INTERVALS)
    assert nothing["remark"].tolist() == [tables.NOT_YET] * 2 and nothing["value"].isna().all()


def test_cases_are_grouped_by_the_training_ratings_of_their_target():
    counts = pd.Series([0, 3, 8, 8, 9, 20, 30, 31, 50, 90], index=list("abcdefghij"))
    groups = tables.rating_groups(counts)
    assert groups.groupby("group", sort=False)[CASE].agg(list).to_dict() == {
        "0 to 3": ["a", "b"],
        "8 to 8": ["c", "d"],
        "9 to 20": ["e", "f"],
        "30 to 31": ["g", "h"],
        "50 to 90": ["i", "j"],
    }
    # Where a value is too frequent for groups of like size, there are fewer.
    assert tables.rating_groups(pd.Series([1] * 9 + [5], index=list("abcdefghij")))["group"].nunique() <= 2


def test_what_is_ahead_and_what_behind_in_words():
    rows = pd.DataFrame({"minus": ["x", "y", "z"], "value": [0.02, -0.03, 0.01]})
    rows = rows.assign(low=[0.01, -0.05, -0.01], high=[0.03, -0.01, 0.03])
    said = words.compared(rows)
    assert said.index("ahead of x") < said.index("behind y") < said.index("no difference shown to z")
    assert "+2.0 points [+1.0, +3.0]" in said


@pytest.mark.parametrize(("n_draws", "said"), [([1, 1], "1"), ([3, 3], "3"), ([3, 1], "1 to 3")])
def test_a_caption_says_how_many_draws_there_are(n_draws, said):
    table = pd.DataFrame({"n_cases": 5, "n_users": 4, "n_seeds": n_draws})
    assert f": {said}; 90%" in words.caption(table, dataset="toy", confidence=0.9)


def test_the_plan_pairs_what_is_compared_and_fits_nothing_twice():
    chosen = study_settings.read_settings("ml-100k")
    for name, part in ((name, make(chosen, 0.2)) for name, make in plan.PARTS.items()):
        labels = [tuple(row.labels.values()) for row in part.rows]
        assert len(set(labels)) == len(labels), name
        assert len({job.name for job in part.jobs}) == len(part.jobs)
        assert all(one in part.rows and other in part.rows for one, other in part.pairs)
        assert all(job.cold == (name == "b") for job in part.jobs)
    # Part c takes up what part a has fitted.
    little, form = ({job.name for job in plan.PARTS[name](chosen, 0.2).jobs} for name in "ac")
    assert {"smollm2-0-0", "smollm2-0.2-0", "movielm-0.2-0"} <= little & form


def test_settings_that_cannot_be_used_are_named(tmp_path):
    text = study_settings.PARAMS.read_text(encoding="utf-8")
    assert study_settings.read_settings("ml-1m").n_cases == 1
    for old, new, message in (
        ("n_draws: 3", "n_draws: 0", "n_draws: Input should be greater"),
        ("cpu_share: 0.2", "cpu_shares: 0.2", "cpu_shares: Extra inputs"),
        ("backend: local, model: qwen", "backend: hosted, model: qwen", "qwen: only local models"),
        ("default:", "defaults:", "must hold a mapping `default`"),
    ):
        assert old in text
        path = tmp_path / "params.yaml"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(StudyError, match=message):
            study_settings.read_settings("ml-100k", path)


def test_differences_of_nothing_can_be_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "STUDIES", tmp_path)
    one, other = (plan.Row({"system": name, "share": 0.5}, []) for name in ("one", "other"))
    table = tables.differences([(one, other)], {}, seed=0, n_bootstrap=10, confidence=0.95)
    tables.write(table, "none", "toy")
    assert tables.read("toy", "none").empty


def differences(*rows: tuple, names: tuple[str, ...] = ("system", "share")) -> pd.DataFrame:
    """Rows of `names`, `minus` and the lower end of an interval that is 0.1 wide."""
    table = pd.DataFrame(rows, columns=[*names, "minus", "low"])
    return table.assign(metric=words.METRIC, value=table["low"] + 0.05, high=table["low"] + 0.1, n_users=9)


@pytest.mark.parametrize(
    ("lows", "beginning"),
    [
        ((-0.02, -0.2), "Not shown:"),
        (
            (0.01, -0.02),
            "Ahead of EASE-R: m (after 20% of the training users). No pretrained model is ahead of all",
        ),
        ((0.01, 0.02), "Ahead of all others: m (after 20% of the training users)."),
    ],
)
def test_the_first_sentence_says_of_whom_a_pretrained_model_is_ahead(root, lows, beginning):
    rows = [("m", 0.2, minus, low) for minus, low in zip(("ease", "lstm"), lows, strict=True)]
    tables.write(differences(*rows), tables.DIFFERENCES["a"], "ml-100k")
    first, second = words.reading("a", "ml-100k")
    assert first.startswith(beginning) and second.startswith("**m, after 20%")


def test_an_answer_for_the_page_ends_with_metric_and_users(root):
    assert words.digest("ml-100k").empty
    tables.write(differences(("m", 0.2, "ease", 0.01)), tables.DIFFERENCES["a"], "ml-100k")
    [answer] = words.digest("ml-100k")["answer"]
    first, each, basis = answer.splitlines()
    assert first.startswith("Ahead of all others: m") and each.startswith("m, after 20%")
    assert "NDCG@10" in basis and "9 test users" in basis


@pytest.mark.parametrize("leads", [CATALOG, COLD])
def test_a_lead_with_cold_items_is_said_of_what_was_ranked(root, leads):
    rows = [("m", 0.0, among, "lstm", 0.01 if among == leads else -0.02) for among in (CATALOG, COLD)]
    tables.write(differences(*rows, names=("system", "share", AMONG)), tables.DIFFERENCES["b"], "ml-100k")
    first, *each = words.reading("b", "ml-100k")
    assert (COLD in first) == (leads == COLD) and len(each) == 2


READ, MEANT = "what the weights have read", "that titles mean something"


@pytest.mark.parametrize(
    ("lows", "said"),
    [
        ((0.01, 0.01), f"{READ} helps m, not tuned and {MEANT} helps m, not tuned."),
        ((0.01, -0.01), f"{READ} helps m, not tuned and {MEANT} is not shown to help."),
        ((-0.01, 0.01), f"{READ} is not shown to help and {MEANT} helps m, not tuned."),
        ((-0.01, -0.01), "neither what the weights have read nor what titles mean is shown to help."),
        ((-0.01, None), f"{READ} is not shown to help."),
        ((None, None), "pretrained models were not measured."),
    ],
)
def test_knowledge_is_said_to_help_where_its_interval_is_above_zero(root, lows, said):
    names = ("system", "share", "weights", "titles")
    there = ("m", 0.0, plan.PRETRAINED, plan.REAL)
    # What is trained here says nothing of what the web gave, however large its difference.
    here = ("movielm", 0.2, plan.TRAINED, plan.REAL, plan.MEANINGLESS, 0.3)
    controls = zip((plan.RANDOM, plan.MEANINGLESS), lows, strict=True)
    rows = [*((*there, minus, low) for minus, low in controls if low is not None), here]
    tables.write(differences(*rows, names=names), tables.DIFFERENCES["c"], "ml-100k")
    assert words.reading("c", "ml-100k")[0] == said[0].upper() + said[1:]


@pytest.mark.parametrize(
    ("low", "said"),
    [(0.01, "are better (m, not tuned)"), (-0.2, "are worse (m, not tuned)"), (-0.05, "not shown")],
)
def test_exact_search_is_said_to_be_better_where_its_interval_is_above_zero(root, low, said):
    assert words.searched("ml-100k") == [words.NOT_MEASURED]
    labels = {"system": "m", "share": 0.0}
    gains = differences(("m", 0.0, plan.EXACT, plan.BEAM, low), names=("system", "share", "search"))
    lists = [
        {**labels, "search": search, "metric": "hit_rate@10", "value": value, "n_cases": 8, "remark": ""}
        for search, value in ((plan.EXACT, 0.25), (plan.BEAM, 0.5))
    ]
    shared = {"overlap": 0.3, "same_first": 0.5, "n_items": 7, "n_items_other": 9, "n_cases": 8}
    tables.write(gains, tables.DIFFERENCES["e"], "ml-100k")
    tables.write(pd.DataFrame(lists), tables.NAMES["e"], "ml-100k")
    tables.write(pd.DataFrame([{**labels, **shared}]), tables.OVERLAP, "ml-100k")
    first, second = words.searched("ml-100k")
    assert said in first and "only 2 to 4 of 8 cases" in first
    assert second.startswith("**m, not tuned:** the beam finds 30%")


def test_what_two_searches_share_is_counted_case_by_case():
    """By hand: two of three items, the same first one; then none of one."""

    def lists(*rows):
        return pd.DataFrame(rows, columns=["case_id", "rank", "item_id"])

    part = plan.search(study_settings.read_settings("ml-100k"), 0.2)
    exact, beam = (row.jobs[0] for row in part.pairs[0])
    pieces = {
        exact: lists(("a", 1, 5), ("a", 2, 6), ("a", 3, 7), ("b", 1, 8)),
        beam: lists(("a", 1, 5), ("a", 2, 9), ("a", 3, 6), ("b", 1, 5)),
    }
    [row] = tables.overlaps(part.pairs, pieces).to_dict("records")
    assert row["overlap"] == pytest.approx(1 / 3) and row["same_first"] == 0.5
    assert (row["n_items"], row["n_items_other"]) == (4, 3)
    assert (row["system"], row["share"], row["n_cases"]) == (exact.model, 0.0, 2)
