"""Stage `data` from end to end, on the tiny data set."""

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, tiny_files, use_root

from dualrec_utils.core import config, evaluation, files, order, splits
from dualrec_utils.core.config import CASE, HISTORY, ITEM, POSITION, SECOND, SPLIT, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known, prepare


def written():
    folder = config.processed_dir("ml-100k")
    return {path.name: files.sha256(path) for path in sorted(folder.iterdir())}


def read(name):
    return pd.read_parquet(config.processed_dir("ml-100k") / f"{name}.parquet")


def test_two_runs_write_the_same_bytes(tmp_path, tiny_folder, monkeypatch):
    runs = []
    for name in ("one", "two"):
        use_root(tmp_path / name, monkeypatch)
        prepare.prepare(**TINY)
        runs.append(written())
    assert runs[0] == runs[1]
    prepare.prepare(**TINY)
    assert written() == runs[1]
    assert len(runs[0]) == 15


def test_another_seed_moves_users_and_nothing_else(tiny):
    before = written()
    prepare.prepare(**TINY | {"seed": 8})
    after = written()
    same = {name for name in before if before[name] == after[name]}
    assert {"interactions.parquet", "items.parquet", "merged.parquet", "ratings_raw.parquet"} <= same
    assert {"splits.parquet", "cases_next_item.parquet", "targets_next_item.parquet"}.isdisjoint(same)


def test_a_sample_of_held_out_users_leaves_training_users_and_items_alone(tiny):
    before = {name: read(name) for name in ("interactions", "items", "splits", "cases_next_item")}
    summary = prepare.prepare(**TINY | {"held_out_users": 2})
    users, whole = read("splits"), before["splits"]
    assert users[SPLIT].value_counts()[["validation", "test"]].tolist() == [2, 2]
    assert whole[SPLIT].value_counts()[["validation", "test"]].min() > 2
    pd.testing.assert_frame_equal(read("items"), before["items"])
    # Everybody who stays is on the side, and has the rows and cases, of the whole.
    pd.testing.assert_frame_equal(users, whole[whole[USER].isin(users[USER])].reset_index(drop=True))
    for name in ("interactions", "cases_next_item"):
        of_them = before[name][before[name][USER].isin(users[USER])].reset_index(drop=True)
        pd.testing.assert_frame_equal(read(name), of_them)
    train = whole.loc[whole[SPLIT] == "train", USER]
    assert users.loc[users[SPLIT] == "train", USER].tolist() == train.tolist()
    assert summary["n_users"] + summary["n_users_left_out"] == tiny["n_users"] == len(whole)


def test_more_held_out_users_than_there_are_leave_nobody_out(tiny):
    before = written()
    prepare.prepare(**TINY | {"held_out_users": 1_000})
    assert written() == before


def test_what_the_summary_says_is_what_the_files_hold(tiny):
    interactions, items, users = read("interactions"), read("items"), read("splits")
    assert files.read_json(config.processed_dir("ml-100k") / "summary.json") == tiny
    assert tiny["n_interactions"] == len(interactions)
    assert tiny["n_items"] == len(items) == TINY["n_items"]
    assert tiny["n_users"] == len(users) == interactions[USER].nunique()
    assert tiny["order_sha256"] == order.order_hash(interactions)
    assert tiny["n_movies_merged"] == 1
    assert tiny["n_users_train"] + tiny["n_users_validation"] + tiny["n_users_test"] == tiny["n_users"]
    assert interactions[USER].value_counts().min() >= TINY["min_interactions"]
    assert set(interactions[ITEM]) <= set(items[ITEM])
    assert 30 not in set(items[ITEM])


def test_interactions_are_in_order_with_positions_from_zero(tiny):
    interactions = read("interactions")
    again = order.in_order(interactions.drop(columns=[SECOND, POSITION]), order_seed=TINY["order_seed"])
    pd.testing.assert_frame_equal(interactions.drop(columns=POSITION), again)
    for _, positions in interactions.groupby(USER)[POSITION]:
        assert positions.tolist() == list(range(len(positions)))


def test_cases_are_cut_from_the_end_of_held_out_histories(tiny):
    interactions, users = read("interactions"), read("splits")
    whole = interactions.groupby(USER)[ITEM].agg(list)
    for protocol, n_cases in {"next_item": TINY["cases_per_user"], "window_of_five": 1}.items():
        cases, targets = read(f"cases_{protocol}"), evaluation.load_targets("ml-100k", protocol)
        held_out = users[users[SPLIT].isin(config.HELDOUT_SPLITS)]
        seconds = interactions.groupby(USER)[SECOND].nunique()[held_out[USER]]
        most = seconds.clip(upper=n_cases + 1) - 1 if protocol == "next_item" else 1
        assert len(cases) == np.broadcast_to(most, len(held_out)).sum()
        for case, user, history in zip(cases[CASE], cases[USER], cases[HISTORY], strict=True):
            both = [*history, *targets[case]]
            assert both == whole[user][: len(both)]
        last = interactions.groupby(USER)[SECOND].agg(lambda times: times.searchsorted(times.iloc[-1]))
        if protocol == "next_item":
            for user, history in cases.groupby(USER)[HISTORY].agg("last").items():
                assert len(history) == last[user]


def test_targets_lie_in_files_of_their_own(tiny):
    for protocol in config.PROTOCOLS:
        assert list(read(f"cases_{protocol}").columns) == [CASE, USER, SPLIT, HISTORY]
        assert list(read(f"targets_{protocol}").columns) == [CASE, ITEM, "target_order"]


def test_describe_says_what_there_is(tiny):
    line = prepare.describe("ml-100k", tiny)
    assert f"{tiny['n_users']} users" in line
    assert f"{tiny['n_interactions']} interactions" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_items": 31}, "n_items is 31, but only 29 items have ratings"),
        ({"min_interactions": 500}, r"0 of 40 users have 500 .* \(data\.min_interactions, data\.n_items\)"),
        ({"train_share": 0.98, "validation_share": 0.01}, "40 users are too few"),
    ],
)
def test_settings_that_cannot_work_write_nothing(root, tiny_folder, change, message):
    with pytest.raises(StudyError, match=message):
        prepare.prepare(**TINY | change)
    assert not config.processed_dir("ml-100k").exists()


def test_a_bad_rating_writes_nothing(root, tiny_folder, monkeypatch):
    path = tiny_folder / "ml-100k" / "u.data"
    path.write_bytes(tiny_files()["u.data"] + b"1\t99\t5\t880000000\n")
    monkeypatch.setitem(known.find("ml-100k").sha256, "u.data", files.sha256(path))
    with pytest.raises(StudyError, match=r"line 7\d\d: an item that the file of items does .*99"):
        prepare.prepare(**TINY)
    assert not config.processed_dir("ml-100k").exists()


def test_a_leak_in_the_cases_stops_the_stage(root, tiny_folder, monkeypatch):
    honest = splits.make_cases

    def leaky(*args, **kwargs):
        cases, targets = honest(*args, **kwargs)
        longer = [[*history, 1] for history in cases[HISTORY]]
        return cases.assign(**{HISTORY: longer}), targets

    monkeypatch.setattr(splits, "make_cases", leaky)
    with pytest.raises(StudyError, match="history and target are not consecutive"):
        prepare.prepare(**TINY)
    assert not config.processed_dir("ml-100k").exists()
