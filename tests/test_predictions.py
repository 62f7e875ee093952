"""The one interface between models and results: what it refuses and what it never changes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from scipy import stats
from toy_catalog import catalog_of

from dualrec_utils.core import config, evaluation, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, SCORE, SEED, SPLIT, TEXT, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope, scopes

ITEMS = np.array([10, 20, 30, 40])


def cases(*histories):
    names = [f"c{i}" for i in range(len(histories))]
    return pd.DataFrame(
        {CASE: names, USER: range(len(names)), SPLIT: "test", HISTORY: [np.array(h) for h in histories]}
    )


def lists(rows):
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM, SCORE])
    return frame.assign(**{TEXT: None, SEED: 1}).astype(predictions.COLUMNS)


def ranked(frame):
    return frame.groupby(CASE)[ITEM].agg(list).to_dict()


def test_from_scores_ranks_and_leaves_seen_movies_out():
    scores = np.array([[0.1, 0.9, 0.5, 0.7], [4, 3, 2, 1]])
    frame = predictions.from_scores(scores, cases([20], [10, 40]), ITEMS, seed=3)
    assert ranked(frame) == {"c0": [40, 30, 10], "c1": [20, 30]}
    assert frame[RANK].tolist() == [1, 2, 3, 1, 2]
    assert frame[SCORE].tolist() == [0.7, 0.5, 0.1, 3, 2]
    assert set(frame[SEED]) == {3}
    assert {column: str(kind) for column, kind in frame.dtypes.items()} == predictions.COLUMNS


def test_from_scores_keeps_seen_movies_when_asked():
    frame = predictions.from_scores(
        np.array([[0.1, 0.9, 0.5, 0.7]]), cases([20]), ITEMS, seed=3, exclude_seen=False, length=2
    )
    assert ranked(frame) == {"c0": [20, 40]}


def test_from_scores_does_not_change_its_input():
    scores, case_rows = np.ones((1, 4)), cases([20])
    before = case_rows.copy(deep=True)
    predictions.from_scores(scores, case_rows, ITEMS, seed=0)
    assert (scores == 1).all()
    pd.testing.assert_frame_equal(case_rows, before)


@pytest.mark.parametrize("targets", [[0], [98], [0, 1, 2, 50, 99]])
def test_constant_scores_hit_at_chance_whatever_the_targets(targets):
    n, k, catalog = 2000, 10, np.arange(100)
    case_rows = cases(*[[] for _ in range(n)])
    frame = predictions.from_scores(np.zeros((n, 100)), case_rows, catalog, seed=0)
    answers = pd.Series([targets] * n, index=case_rows[CASE])
    hits = evaluation.score_lists(frame, case_rows, answers, catalog_of(catalog))[f"hit_rate@{k}"].sum()
    least, most = stats.binom.interval(1 - 1e-6, n, stats.hypergeom.sf(0, 100, len(targets), k))
    assert least <= hits <= most


def test_among_equal_scores_every_item_comes_first_as_often():
    n = 4000
    scores = np.tile([1.0, 2, 1, 2, 2, 0, 2, 2], (n, 1))
    counts = np.bincount(predictions.best(scores, range(n), seed=3, k=1)[:, 0], minlength=8)
    assert counts[[0, 2, 5]].sum() == 0
    least, most = stats.binom.interval(1 - 1e-6, n, 1 / 5)
    assert all(least <= count <= most for count in counts[[1, 3, 4, 6, 7]])


tied = st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=4)


@given(scores=tied, seed=st.integers(0, 99), data=st.data())
def test_a_list_depends_on_its_scores_its_case_and_the_seed_alone(scores, seed, data):
    scores = np.array(scores, dtype=float)
    names = [f"c{i}" for i in range(len(scores))]
    order = predictions.best(scores, names, seed=seed)
    assert (np.sort(order) == np.arange(6)).all()
    assert (np.diff(np.take_along_axis(scores, order, axis=1)) <= 0).all()
    rows = data.draw(st.lists(st.sampled_from(range(len(scores)))))
    beside_others = predictions.best(scores[rows], [names[row] for row in rows], seed=seed, k=4)
    assert beside_others.tolist() == order[rows, :4].tolist()
    # Items under other ids: the same lists but for what is drawn.
    moved = np.array(data.draw(st.permutations(range(6))))
    renamed = moved[predictions.best(scores[:, moved], names, seed=seed)]
    assert (np.take_along_axis(scores, renamed, axis=1) == np.take_along_axis(scores, order, axis=1)).all()
    distinct = scores + np.linspace(0, 0.5, 6)
    assert (moved[predictions.best(distinct[:, moved], names, seed=seed)] == np.argsort(-distinct)).all()


def test_another_seed_and_another_case_draw_another_order():
    one, other = predictions.best(np.zeros((2, 50)), ["c0", "c1"], seed=0)
    again = predictions.best(np.zeros((1, 50)), ["c0"], seed=1)[0]
    assert one.tolist() != other.tolist() and one.tolist() != again.tolist()


def test_target_ranks_by_hand():
    items, scores = np.array([2, 3, 5, 7]), np.array([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    # Items 2 and 3 lie before 5, but 2 has been rated.
    draw = {"names": "ab", "seed": 0}
    ranks = predictions.target_ranks(scores, [[2], [3]], np.array([5, 7]), items, **draw)
    assert ranks.tolist() == [2, 1]
    assert scores[0, 0] == 4.0
    nan = np.where(scores > 3, np.nan, scores)
    with pytest.raises(StudyError, match="not a number"):
        predictions.target_ranks(nan, [[2]] * 2, np.array([5, 7]), items, **draw)
    with pytest.raises(StudyError, match=r"shape \(2, 4\), expected \(1, 4\)"):
        predictions.target_ranks(scores, [[2]], np.array([5]), items, **draw)


@given(seed=st.integers(0, 10_000), n_levels=st.integers(1, 20))
def test_target_ranks_are_those_of_the_lists(seed, n_levels):
    draw = np.random.default_rng(seed)
    items = np.sort(draw.choice(50, size=12, replace=False))
    shuffled = np.stack([draw.permutation(items) for _ in range(5)])
    case_rows, targets = cases(*shuffled[:, :4]), shuffled[:, 4]
    # Few levels: ties abound.
    scores = draw.integers(n_levels, size=(5, 12)).astype(float)
    listed = predictions.from_scores(scores, case_rows, items, seed=seed)
    wanted = listed.merge(pd.DataFrame({CASE: case_rows[CASE], ITEM: targets})).sort_values(CASE)[RANK]
    ranks = predictions.target_ranks(
        scores, case_rows[HISTORY], targets, items, names=case_rows[CASE], seed=seed
    )
    assert ranks.tolist() == wanted.tolist()


def test_half_precision_scores_are_ranked_in_full():
    scores = np.array([[-1.5, -0.5, -3.0, -2.0]], dtype=np.float16)
    assert ranked(predictions.from_scores(scores, cases([]), ITEMS, seed=0)) == {"c0": [20, 10, 40, 30]}


def test_minus_infinity_means_never_listed():
    frame = predictions.from_scores(np.array([[1, -np.inf, 0, -np.inf]]), cases([]), ITEMS, seed=0)
    assert ranked(frame) == {"c0": [10, 30]}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_name_the_case(bad):
    scores = np.zeros((2, 4))
    scores[1, 2] = bad
    with pytest.raises(StudyError, match="scores of case c1 are not numbers"):
        predictions.from_scores(scores, cases([], []), ITEMS, seed=0)


@pytest.mark.parametrize("shape", [(1, 4), (2, 3), (4, 2)])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(StudyError, match=r"expected \(2, 4\)"):
        predictions.from_scores(np.zeros(shape), cases([], []), ITEMS, seed=0)


@given(
    scores=st.lists(st.integers(-3, 3), min_size=8, max_size=8),
    seen=st.sets(st.integers(0, 7)),
    length=st.integers(1, 10),
)
def test_lists_are_sorted_unseen_and_pass_the_check(scores, seen, length):
    catalog = np.arange(8) * 3
    case_rows = cases(catalog[sorted(seen)])
    frame = predictions.from_scores(
        np.array([scores], dtype=float), case_rows, catalog, seed=0, length=length
    )
    predictions.check(frame, case_rows, catalog)
    assert len(frame) == min(length, 8 - len(seen))
    assert not set(frame[ITEM]) & set(catalog[sorted(seen)])
    assert frame[SCORE].is_monotonic_decreasing


def test_drop_seen_keeps_order_and_unmatched_entries():
    before = lists(
        [("c0", 1, 20, 4), ("c0", 2, None, 3), ("c0", 3, 10, 2), ("c0", 4, 30, 1), ("c1", 1, 20, 1)]
    )
    copy = before.copy()
    frame = predictions.drop_seen(before, cases([20, 10], [30]))
    assert [(row[0], row[1], None if row[2] is pd.NA else row[2]) for row in frame.to_numpy()] == [
        ("c0", 1, None), ("c0", 2, 30), ("c1", 1, 20)
    ]  # fmt: skip
    pd.testing.assert_frame_equal(before, copy)


@pytest.mark.parametrize("rows", [[("c0", 1, 20, 4), ("c0", 2, 30, 3)], [("c0", 1, None, 3)], []])
def test_drop_seen_of_lists_without_a_seen_movie_changes_nothing(rows):
    frame = lists(rows)
    pd.testing.assert_frame_equal(predictions.drop_seen(frame, cases([10])).reset_index(drop=True), frame)


GOOD = [("c0", 1, 10, 2.0), ("c0", 2, 20, 1.0), ("c1", 1, None, 1.0)]


def test_good_predictions_pass_and_need_not_answer_every_case():
    predictions.check(lists(GOOD), cases([], []), ITEMS)
    predictions.check(lists(GOOD[:2]), cases([], []), ITEMS)
    predictions.check(lists([]), cases([], []), ITEMS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*GOOD, ("c9", 1, 10, 1.0)], "answer case 'c9', which the split does not have"),
        ([*GOOD, ("c0", 4, 30, 0.5)], "ranks of case 'c0' are not 1, 2, 3"),
        ([*GOOD, ("c1", 1, 30, 0.5)], "ranks of case 'c1' are not"),
        ([("c0", 0, 10, 2.0)], "ranks of case 'c0' are not"),
        ([*GOOD, ("c1", 2, 99, 0.5)], "case 'c1' lists item 99, which the catalog"),
        ([*GOOD, ("c1", 2, 30, np.nan)], "case 'c1' has a score that is not a number at rank 2"),
        ([("c0", rank, 10, 1.0) for rank in range(1, 102)], "a list holds 101 entries, at most 100"),
    ],
)
def test_planted_faults_are_named(rows, message):
    with pytest.raises(StudyError, match=message):
        predictions.check(lists(rows), cases([], []), ITEMS)


def test_a_missing_column_is_named():
    with pytest.raises(StudyError, match=r"lack the columns \['seed'\]"):
        predictions.check(lists(GOOD).drop(columns=SEED), cases([], []), ITEMS)


TEST = Scope("ml-100k", "toy", "next_item", "test")


def test_a_scope_is_one_value():
    same = Scope(dataset="ml-100k", stage="toy", protocol="next_item", split="test")
    assert {TEST: 1}[same] == 1
    assert TEST.replace(stage="lstm") == Scope("ml-100k", "lstm", "next_item", "test")
    assert same == TEST, "replacing leaves the scope itself as it was"
    with pytest.raises(dataclasses.FrozenInstanceError):
        TEST.split = "validation"


@pytest.mark.parametrize(
    ("field", "wrong"), [("protocol", "next_itme"), ("split", "train"), ("split", "Test")]
)
def test_a_scope_without_cases_is_refused(field, wrong):
    for make in (TEST.replace, lambda **changes: Scope(**dataclasses.asdict(TEST) | changes)):
        with pytest.raises(StudyError, match=f"no cases of {field} '{wrong}'; use one of"):
            make(**{field: wrong})


def test_the_scopes_of_a_stage_come_by_split_then_by_protocol():
    both = [(scope.split, scope.protocol) for scope in scopes("ml-100k", "toy")]
    assert both == [
        ("validation", "next_item"), ("validation", "window_of_five"),
        ("test", "next_item"), ("test", "window_of_five"),
    ]  # fmt: skip
    only = scopes("ml-100k", "toy", splits=["test"])
    assert only == [TEST, TEST.replace(protocol="window_of_five")]


def test_every_part_of_a_scope_has_a_place_of_its_own():
    others = {"dataset": "ml-1m", "stage": "lstm", "protocol": "window_of_five", "split": "validation"}
    paths = [predictions.path_of("a", TEST.replace(**{name: value})) for name, value in others.items()]
    assert len({*paths, predictions.path_of("a", TEST)}) == 5
    assert paths[0].parts[-6:] == ("ml-1m", "toy", "predictions", "next_item", "test", "a.parquet")


def test_cases_come_sorted_and_without_targets(tiny):
    frame = predictions.load_cases(TEST)
    assert frame[CASE].is_monotonic_increasing
    assert list(frame.columns) == [CASE, USER, SPLIT, HISTORY]
    assert set(frame[SPLIT]) == {"test"}
    assert (np.diff(load_catalog("ml-100k").ids) > 0).all()


def test_written_predictions_read_back_the_same(tiny):
    case_rows = predictions.load_cases(TEST)
    catalog = load_catalog("ml-100k").ids
    frame = predictions.from_scores(
        np.random.default_rng(0).random((len(case_rows), len(catalog))), case_rows, catalog, seed=0
    )
    predictions.write(frame.sample(frac=1, random_state=0), "toy", TEST)
    pd.testing.assert_frame_equal(predictions.read("toy", TEST), frame)
    assert predictions.systems(TEST) == ["toy"]


def test_predictions_that_fail_the_check_are_not_written(tiny):
    with pytest.raises(StudyError, match="answer case 'c0'"):
        predictions.write(lists(GOOD), "toy", TEST)
    assert predictions.systems(TEST) == []


def test_what_a_killed_write_left_is_no_system(tiny):
    path = predictions.path_of("toy", TEST)
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert list(path.parent.iterdir()) == [temporary]
        assert predictions.systems(TEST) == []


def test_missing_predictions_name_the_stage_to_run(tiny):
    with pytest.raises(StudyError, match=r"toy.parquet is not there: run `dvc repro toy` first"):
        predictions.read("toy", TEST)


@pytest.mark.parametrize(
    "broken",
    [lambda frame: frame.drop(columns=TEXT), lambda frame: frame.assign(**{ITEM: "Heat (1995)"})],
)
def test_predictions_in_other_columns_name_the_stage_to_run(tmp_path, monkeypatch, broken):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    scope = Scope("ml-100k", "lstm", "next_item", "test")
    frame = lists([("c0", 1, 10, 0.5)])
    files.write_parquet(broken(frame), predictions.path_of("lstm", scope))
    with pytest.raises(StudyError, match="dvc repro -f lstm"):
        predictions.read("lstm", scope)
