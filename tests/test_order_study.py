"""The order study: what it asks under each order, and what its tables hold."""

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.analysis import order as tables
from dualrec_utils.audit import figures
from dualrec_utils.core import config, evaluation, files, predictions, splits
from dualrec_utils.core.config import CASE, HISTORY, ITEM, SECOND, SPLIT, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.studies import order as study

INTERVALS = {"seed": 1, "n_bootstrap": 200, "confidence": 0.95}
USERS = pd.DataFrame({USER: [1, 2, 3], SPLIT: ["train", "validation", "test"]})


def interactions(seconds):
    """Users 1, 2, 3 with movies in these seconds, higher ids first within one."""
    rows = []
    for user in (1, 2, 3):
        ids = [100 * user + 50 - place for place in range(len(seconds))]
        rows += [(user, item, second) for item, second in zip(ids, seconds, strict=True)]
    return pd.DataFrame(rows, columns=[USER, ITEM, SECOND])


def cases_of(how, what, seconds, **given):
    settings = {"draw": 0, "cases_per_user": 8} | given
    return study.cut(interactions(seconds), USERS, how, **settings).cases[what, "test"]


def test_by_id_a_history_holds_its_targets_second():
    cases, targets = cases_of(study.BY_ID, study.BY_ID, [0, 0, 1, 1, 1], cases_per_user=3)
    # User 3 has 350 349 | 348 347 346: by id 349 350 | 346 347 348.
    assert [list(history) for history in cases[HISTORY]] == [
        [349, 350],
        [349, 350, 346],
        [349, 350, 346, 347],
    ]
    assert targets[cases[CASE]].tolist() == [[346], [347], [348]]


@given(st.lists(st.integers(0, 3), min_size=6, max_size=14).map(sorted), st.integers(0, 3))
def test_earlier_seconds_hide_nothing_more_and_masked_ones_their_companions(seconds, draw):
    frame = interactions(seconds)
    cut = study.cut(frame, USERS, study.DRAWN, draw=draw, cases_per_user=8)
    second_of = frame.set_index(ITEM)[SECOND]
    if len(set(seconds)) == 1:
        assert (study.EARLIER, "test") not in cut.cases
        return
    (earlier, targets), (masked, same) = (cut.cases[what, "test"] for what in (study.EARLIER, study.MASKED))
    assert len(earlier) == len(masked) == min(8, len(set(seconds)) - 1)
    for row in masked.itertuples():
        (target,) = same[row.case_id]
        assert targets[row.case_id] == [target]
        assert all(second_of[list(row.history)] < second_of[target])
        together = frame[(frame[USER] == 3) & (frame[SECOND] == second_of[target])][ITEM]
        assert set(row.hidden) == set(row.history) | set(together) - {target}


def test_one_movie_a_second_is_trained_on_and_whole_histories_are_asked():
    cut = study.cut(interactions([0, 0, 1, 1, 1, 2]), USERS, study.ONE, draw=0, cases_per_user=8)
    assert len(cut.train[1]) == 3
    cases, _ = cut.cases[study.ONE, "test"]
    assert [len(history) for history in cases[HISTORY]] == [2, 5]


def test_what_movielm_reads_ends_before_the_second_of_the_last_five():
    cut = study.cut(interactions([0, 1, 1, 2, 3, 4, 5]), USERS, study.BY_ID, draw=0, cases_per_user=8)
    assert list(cut.earlier[1]) == [150]


def test_an_order_that_is_not_known_is_refused():
    with pytest.raises(StudyError, match="no order 'by title'"):
        study.ordered(interactions([0, 1]), "by title", draw=0)
    with pytest.raises(StudyError, match="does not say in which order its file is"):
        study.ordered(interactions([0, 1]), study.FILE, draw=0)
    known = interactions([0, 0]).assign(file_row=[5, 2, 1, 3, 9, 8])
    assert study.ordered(known, study.FILE, draw=0)[ITEM].tolist() == [149, 150, 250, 249, 349, 350]


def values_of(rows):
    """Rows (model, asked, draw, user, NDCG@5)."""
    frame = pd.DataFrame(rows, columns=["model", "asked", "draw", USER, "ndcg@5"])
    return frame.assign(**{"trained": frame["asked"], "hit_rate@1": 0.0, "hit_rate@5": 0.0})


def test_effects_pair_users_and_draws():
    rows = [
        (model, what, draw, user, base + 0.1 * user + 0.01 * draw)
        for model, what, base in (
            ("ease", study.BY_ID, 0.1),
            ("ease", study.EARLIER, 0.1),
            ("gru4rec", study.BY_ID, 0.4),
            ("gru4rec", study.EARLIER, 0.2),
        )
        for draw in (0, 1)
        for user in (1, 2, 3)
    ]
    values = study.effects(values_of(rows), **INTERVALS).query("metric == 'ndcg@5'")
    values = values.set_index(["model", "asked", "minus"])["value"]
    assert values["gru4rec", study.BY_ID, "ease"] == pytest.approx(0.3)
    assert values["gru4rec", study.EARLIER, "ease"] == pytest.approx(0.1)
    assert values["gru4rec", study.BY_ID, study.EARLIER] == pytest.approx(0.2)
    assert ("ease", study.BY_ID, "ease") not in values


def test_the_study_runs_resumes_and_its_tables_are_read(tiny, monkeypatch, capsys, figures_closed):
    text = (config.PACKAGE_ROOT / "params.yaml").read_text(encoding="utf-8")
    files.write_text(text, config.ROOT / "params.yaml")
    monkeypatch.setattr(config, "PARAMS_FILE", config.ROOT / "params.yaml")
    monkeypatch.setattr(study, "N_DRAWS", {"ml-100k": 2})
    study.run_all(["ease", "markov"])
    assert capsys.readouterr().out.count("order: ") == 10
    levels, effects = (tables.read("ml-100k", name) for name in ("levels", "effects"))
    assert set(levels["asked"]) == set(tables.WORDS) - {study.FILE}
    assert levels["value"].between(0, 1).all()
    assert levels.groupby("asked")["n_seeds"].max()[study.EARLIER] == 2
    # Seconds are few here, so orders differ; EASE-R is paired with itself nowhere.
    assert set(effects[effects["minus"] == "ease"]["model"]) == {"markov"}
    study.run_all(["markov"])
    assert "order: " not in capsys.readouterr().out
    assert set(tables.read("ml-100k", "levels")["model"]) == {"ease", "markov"}
    assert tables.wide("ml-100k").shape == (2, 5)
    assert tables.wide_leads("ml-100k").shape == (1, 5)
    _, drawn = figures.order_of_equal_times(levels, lead="a test")
    # Two models under the three orders that are shown.
    assert len(drawn) == 6 and (drawn["metric"] == "ndcg@5").all()
    with pytest.raises(StudyError, match="has no transformer"):
        study.run_all(["transformer"])
    # Under other settings the rows of EASE-R would go.
    files.write_text(text.replace("l2: 190", "l2: 200"), config.ROOT / "params.yaml")
    with pytest.raises(StudyError, match="rows of ease, made with other settings"):
        study.run_all(["markov"])
    files.write_text(text.replace("trial: false", "trial: true"), config.ROOT / "params.yaml")
    with pytest.raises(StudyError, match="is a trial or another seed"):
        study.run_all(["markov"])


def test_the_present_definition_measures_what_the_run_does(tiny):
    known, users = splits.load_interactions("ml-100k"), splits.load_splits("ml-100k")
    cut = study.cut(known, users, study.DRAWN, draw=0, cases_per_user=3)
    cases, targets = cut.cases[study.EARLIER, "test"]
    scope = Scope("ml-100k", "lstm", "next_item", "test")
    stored = predictions.load_cases(scope)
    assert cases[CASE].tolist() == stored[CASE].tolist()
    assert all((a == b).all() for a, b in zip(cases[HISTORY], stored[HISTORY], strict=True))
    assert (
        targets[cases[CASE]].to_dict()
        == evaluation.load_targets("ml-100k", "next_item")[cases[CASE]].to_dict()
    )
    known = splits.load_histories("ml-100k", "train")
    assert all((cut.train[user] == known[user]).all() for user in known)
    before = splits.load_earlier("ml-100k", "train")
    assert cut.earlier.keys() == before.keys()
    assert all((cut.earlier[user] == before[user]).all() for user in before)
