"""The field's track: what is kept and left out, what a rank is, its tables beside published figures."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st
from ruamel.yaml import YAML

from dualrec_utils.core import config, evaluation
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known
from dualrec_utils.models import baselines
from dualrec_utils.studies.leave_one_out import (
    run as leave_one_out_run,
    tables as leave_one_out_tables,
    ties,
    track as loo,
)

DATASETS = {"ml-100k": (943, 1349), "ml-1m": (6040, 3416)}


def ratings(rows, *, position=False):
    """(user, item, when) rows as parsed; `when` is the place in the order file's own order if asked."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "position" if position else "timestamp"])
    return frame.assign(rating=3)


def track(histories):
    """A track of users 1, 2, ... with the histories given."""
    return loo.Track(
        dataset="none",
        source="by hand",
        order_sha256="",
        item_ids=np.unique(np.concatenate(histories)),
        user_ids=np.arange(1, len(histories) + 1),
        histories=tuple(np.array(history) for history in histories),
    )


def raw_folder(dataset):
    """Where the real files lie, if anywhere on this machine."""
    places = [config.raw_dir(dataset), Path(os.environ.get("DUALREC_DATA", "nowhere")) / dataset]
    return next((place for place in places if place.is_dir()), None)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_real_files_give_the_users_and_items_of_the_field(dataset):
    folder = raw_folder(dataset)
    if folder is None:
        pytest.skip(f"{dataset} is not on this machine")
    first = next(folder / name for name in known.find(dataset).parsers if (folder / name).is_file())
    whole = loo.make_track(known.parse(dataset, first)[0], dataset=dataset, source="files")
    assert (len(whole.user_ids), len(whole.item_ids)) == DATASETS[dataset]


def test_rare_users_and_items_are_dropped_and_counted_once():
    # Item 9 has four ratings, user 6 too. Without user 6, item 5 keeps four: it stays all the same.
    rows = [(user, item, 10 * item) for user in range(1, 5) for item in (1, 2, 3, 4, 5, 9)]
    rows += [(5, item, 10 * item) for item in (1, 2, 3, 4, 7)] + [(6, item, 1) for item in (1, 2, 4, 5)]
    whole = loo.make_track(ratings(rows), dataset="none", source="by hand")
    assert whole.user_ids.tolist() == [1, 2, 3, 4, 5] and whole.item_ids.tolist() == [1, 2, 3, 4, 5]
    assert [history.tolist() for history in whole.histories] == [[1, 2, 3, 4, 5]] * 4 + [[1, 2, 3, 4]]


def test_order_is_by_time_ties_by_item_unless_the_file_has_its_own():
    when = {1: 7, 2: 5, 3: 7, 4: 1, 5: 9}
    by_time = [(user, item, when[item]) for user in range(5) for item in (3, 1, 2, 5, 4)]
    whole = loo.make_track(ratings(by_time), dataset="none", source="by hand")
    assert whole.histories[0].tolist() == [4, 2, 1, 3, 5]
    by_place = [(user, item, place) for user in range(5) for place, item in enumerate((3, 1, 2, 5, 4))]
    whole = loo.make_track(ratings(by_place, position=True), dataset="none", source="by hand")
    assert whole.histories[4].tolist() == [3, 1, 2, 5, 4]


def test_a_file_with_its_own_order_is_filtered_too():
    rows = [(user, item, item) for user in range(5) for item in range(1, 6)] + [(9, 1, 0), (9, 7, 1)]
    whole = loo.make_track(ratings(rows, position=True), dataset="none", source="by hand")
    assert whole.item_ids.tolist() == [1, 2, 3, 4, 5] and 9 not in whole.user_ids


def test_only_known_ties_of_one_user_change_their_order():
    # Users 1 and 2 meet at time 5; user 2's unknown times tie with nothing.
    rows = [(1, 4, 5), (1, 9, 5), (1, 2, 5), (2, 8, 5), (2, 7, None), (2, 6, None), (2, 3, 6)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).astype({"timestamp": "Int64"})
    expected = {"as it is": [4, 9, 2], "by item id": [2, 4, 9], "by item id, descending": [9, 4, 2]}
    for order, tied in expected.items():
        reordered = ties.reorder(frame, order, seed=0)
        assert reordered["item_id"].tolist() == [*tied, 8, 7, 6, 3]
        assert reordered["position"].tolist() == [0, 1, 2, 0, 1, 2, 3]
    drawn = [ties.reorder(frame, "at random", seed=seed)["item_id"].tolist() for seed in range(9)]
    assert len({tuple(items) for items in drawn}) > 1
    assert all(set(items[:3]) == {2, 4, 9} and items[3:] == [8, 7, 6, 3] for items in drawn)
    with pytest.raises(ValueError, match="not in tuple"):
        ties.reorder(frame, "by title", seed=0)


def test_orders_are_compared_on_the_same_users_and_items(tiny_folder):
    raw = known.parse("ml-100k", tiny_folder / "ml-100k" / "u.data").ratings
    table = ties.compare(raw, dataset="ml-100k", n_validation=5, seed=1).set_index(["ties", "model"])
    assert len(table) == len(ties.ORDERS) * len(ties.MODELS)
    moved = table["targets_moved"].groupby("ties", sort=False).first()
    assert moved.index.tolist() == list(ties.ORDERS)
    # Ties are by item id already; last movies of the tiny data share their minute often.
    assert moved.tolist()[:2] == [0, 0] and 0 < moved["by item id, descending"] < 1


def test_a_track_without_histories_to_split_is_refused():
    with pytest.raises(StudyError, match="nobody is left"):
        loo.make_track(ratings([(1, 1, 1)]), dataset="none", source="by hand")
    # User 1 rates five movies, three of them alone.
    rows = [(user, item, item) for user in range(2, 7) for item in range(1, 6)]
    rows += [(1, item, item) for item in (1, 2, 7, 8, 9)]
    with pytest.raises(StudyError, match="user 1 keeps 2"):
        loo.make_track(ratings(rows), dataset="none", source="by hand")
    with pytest.raises(StudyError, match="no data set 'ml-2m'; data sets: "):
        loo.load("ml-2m")


@given(lengths=st.lists(st.integers(3, 9), min_size=1, max_size=8), data=st.data())
def test_a_split_takes_every_history_apart_without_loss(lengths, data):
    whole = track([np.random.default_rng(length).permutation(12)[:length] for length in lengths])
    n_validation = data.draw(st.integers(1, len(lengths)))
    split = loo.split(whole, n_validation=n_validation, seed=3)
    assert len(split.validation.user_ids) == n_validation
    target_of = dict(zip(split.validation.user_ids, split.validation.targets, strict=True))
    for row, user in enumerate(split.user_ids):
        held = [target_of[user]] if user in target_of else []
        parts = [split.training[row], held, [split.test.targets[row]]]
        assert np.concatenate(parts).tolist() == whole.histories[row].tolist()
        assert split.test.histories[row].tolist() == whole.histories[row][:-1].tolist()
    for user, history in zip(split.validation.user_ids, split.validation.histories, strict=True):
        assert history.tolist() == split.training[user - 1].tolist()


def test_validation_users_are_drawn_by_the_seed_alone():
    whole = track([[1, 2, 3, 4]] * 50)
    drawn = [loo.split(whole, n_validation=9, seed=seed).validation.user_ids.tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    for n_validation in (0, 51):
        with pytest.raises(StudyError, match=f"n_validation is {n_validation}; allowed: 1 to 50"):
            loo.split(whole, n_validation=n_validation, seed=1)


def test_a_scorer_sees_histories_and_users_and_no_target(monkeypatch):
    whole = track([np.random.default_rng(user).permutation(9) for user in range(20)])
    split = loo.split(whole, n_validation=5, seed=0)
    queries = []

    def score(histories, *, user_ids):
        queries.extend(zip(user_ids, histories, strict=True))
        return np.random.default_rng(len(histories[0])).random((len(histories), 9))

    for cases, length in ((split.test, 8), (split.validation, 7)):
        queries.clear()
        scored = loo.evaluate(score, cases, split.item_ids)
        assert [user for user, _ in queries] == scored["user_id"].tolist() == cases.user_ids.tolist()
        for (_, history), target in zip(queries, cases.targets, strict=True):
            assert len(history) == length and target not in history


def test_validation_keeps_its_values_and_the_seconds_of_both_parts():
    split = loo.split(track([[1, 2, 3, 4, 5]] * 3), n_validation=2, seed=0)
    # The clock when made; before and after each of two questions.
    ticks = iter([10.0, 13.0, 14.0, 19.0, 21.0])
    validation = loo.Validation(split, metric="ndcg@5", clock=lambda: next(ticks))

    def validate(order):
        return validation(lambda histories, user_ids: np.tile(np.float64(order), (len(histories), 1)))

    # Item 4 is asked, 1 to 3 are rated: it stands before 5, then behind it.
    assert validate([0, 0, 0, 2, 1]) == 1
    assert validate([0, 0, 0, 1, 2]) == pytest.approx(1 / np.log2(3))
    assert validation.by_epoch == [1, pytest.approx(1 / np.log2(3))]
    assert validation.epoch_seconds == [3, 5] and validation.seconds == 3


def test_values_worked_by_hand_and_chunks_change_nothing(monkeypatch):
    whole = track([[1, 2, 3, 4, 5, user] for user in (6, 7, 8)])
    split = loo.split(whole, n_validation=3, seed=0)
    # 8 before 7 before 6; so the targets stand at ranks 3, 2 and 1.
    score = baselines.build("most_popular", split.item_ids, seed=0)

    def by_id(histories, *, user_ids):
        return np.tile(split.item_ids.astype(float), (len(histories), 1))

    scored = loo.evaluate(by_id, split.test, split.item_ids)
    assert scored["first_hit"].tolist() == [3, 2, 1]
    assert scored["hit_rate@1"].tolist() == [0, 0, 1]
    assert scored["ndcg@5"].tolist() == pytest.approx([0.5, 1 / np.log2(3), 1])
    summary = evaluation.summarise(scored, columns=loo.METRICS, seed=1)
    assert summary.loc["hit_rate@1", "value"] == pytest.approx(1 / 3)
    assert summary.loc["hit_rate@1", "low"] == 0 and summary.loc["hit_rate@1", "n_users"] == 3
    monkeypatch.setattr(loo, "_CHUNK", 2)
    pd.testing.assert_frame_equal(scored, loo.evaluate(by_id, split.test, split.item_ids))
    score.fit(split.training, user_ids=split.user_ids)
    # Nobody in training has rated 6, 7 or 8: their order is drawn.
    assert loo.evaluate(score.score, split.test, split.item_ids)["first_hit"].between(1, 3).all()


SETTINGS = {
    "split_seed": 1,
    "n_validation": 10,
    "seeds": [5, 6],
    "models": {
        "markov": {"smoothing": 10},
        "gru4rec": {
            "embedding_size": 8, "n_layers": 1, "max_length": 10, "dropout": 0.1, "learning_rate": 0.01,
            "weight_decay": 0.0, "batch_size": 16, "max_epochs": 2, "patience": 2,
        },
    },
}  # fmt: skip


def test_a_run_writes_one_row_a_seed_and_repeats_exactly(root, tiny_folder, one_thread):
    table = leave_one_out_run.run("ml-100k", "gru4rec", settings=SETTINGS)
    assert table["seed"].tolist() == [5, 6] and table["epochs"].tolist() == [2, 2]
    assert table["ndcg@10"].nunique() == 2
    curve = json.loads(table["validation_ndcg@5"][0])
    assert len(curve) == 2 and table["best_epoch"][0] == int(np.argmax(curve)) + 1
    saved = pd.read_csv(config.study_dir("leave_one_out") / "ml-100k" / "gru4rec.csv")
    assert saved["seconds_per_epoch"].between(0, 60).all() and (saved["peak_memory_mb"] > 10).all()
    assert saved["n_users"].unique() == 40 and saved["source"].unique() == "folder"
    again = leave_one_out_run.run("ml-100k", "gru4rec", settings=SETTINGS)
    same = [*loo.METRICS, "best_epoch", "validation_ndcg@5", "order_sha256"]
    pd.testing.assert_frame_equal(table[same], again[same])
    # Nothing random: one seed is enough.
    assert len(leave_one_out_run.run("ml-100k", "markov", settings=SETTINGS)) == 1


def test_the_command_trains_with_one_thread_whatever_the_machine_has(
    root, tiny_folder, one_thread, monkeypatch, tmp_path, capsys
):
    path = tmp_path / "params.yaml"
    section = {key: value for key, value in SETTINGS.items() if key != "split_seed"}
    YAML().dump({"split_seed": 1, "ml-100k": section}, path)
    monkeypatch.setattr(leave_one_out_run, "PARAMS", path)
    torch.set_num_threads(2)
    leave_one_out_run.run_models("ml-100k", ["gru4rec"])
    table = pd.read_csv(config.study_dir("leave_one_out") / "ml-100k" / "gru4rec.csv")
    assert table["device"].unique() == "cpu, 1 thread(s)"
    assert "gru4rec" in capsys.readouterr().out


def test_a_run_that_cannot_be_leaves_nothing(root, tiny_folder):
    with pytest.raises(StudyError, match="no model 'sasrec'; it has markov, gru4rec"):
        leave_one_out_run.run("ml-100k", "sasrec", settings=SETTINGS)
    wrong = SETTINGS | {"models": {"markov": {"smoothing": -1}}}
    with pytest.raises(StudyError, match="smoothing is -1"):
        leave_one_out_run.run("ml-100k", "markov", settings=wrong)
    assert not config.STUDIES.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "must hold split_seed"),
        ("split_seed: 1\nml-100k: {}", "it has \\['ml-100k'\\]"),
        ("split_seed: 1\nml-1m: {n_validation: 5, seeds: [1]}", "look at models"),
        ("split_seed: 1\nml-1m: {n_validation: 5, seeds: [one], models: {}}", "look at seeds"),
        ("split_seed: 1\nml-1m: {n_validation: 5, seeds: [1], models: {}, model: 1}", "look at model$"),
    ],
)
def test_unusable_settings_are_named(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=message):
        leave_one_out_run.read_settings(path, "ml-1m")


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_model_of_the_project_can_be_built(dataset):
    settings = leave_one_out_run.read_settings(leave_one_out_run.PARAMS, dataset)
    for name, hyperparameters in settings["models"].items():
        baselines.build(name, np.arange(5), seed=0, **hyperparameters)


def rows(model, ndcg, *, hit_rate=0.31):
    """Rows as a run writes them, one for each value of ndcg@10."""
    values = {f"{m}{end}": 0.2 for m in loo.METRICS for end in ("", "_low", "_high")}
    costs = dict.fromkeys(("best_epoch", "epochs", "seconds_per_epoch", "fit_seconds", "peak_memory_mb"), 1)
    shared = {**values, **costs, "model": model, "hyperparameters": "{}", "hit_rate@10": hit_rate}
    return pd.DataFrame([shared | {"seed": seed, "ndcg@10": v} for seed, v in enumerate(ndcg)])


def test_tables_average_seeds_and_place_values_in_bands():
    both = pd.concat([rows("markov", [0.1]), rows("sasrec", [0.16, 0.18])], ignore_index=True)
    table = leave_one_out_tables.by_model(both)
    assert table["model"].tolist() == ["sasrec", "markov"] and table["n_seeds"].tolist() == [2, 1]
    assert table["ndcg@10"].tolist() == ["0.170 [0.200, 0.200]", "0.100 [0.200, 0.200]"]
    assert table["ndcg@10_of_seeds"][0] == "0.1600 to 0.1800"
    figure = {"kind": "published", "source": "someone", "hit_rate@10": 0.3, "ndcg@10": 0.18}
    published = {
        "sasrec": {"band": {"hit_rate@10": [0.3, 0.32], "ndcg@10": [0.175, 0.186]}, "figures": [figure]},
        "gru4rec": {"figures": [figure]},
        "markov": {"figures": [figure]},
    }
    beside = leave_one_out_tables.beside_published(both, published).set_index("model")
    assert beside.index.tolist() == ["sasrec", "markov"]
    assert beside.loc["sasrec", "hit_rate@10_verdict"] == "inside"
    assert beside.loc["sasrec", "ndcg@10_verdict"] == "below"
    assert pd.isna(beside.loc["markov", "ndcg@10_verdict"])
    band = [0.175, 0.186]
    assert leave_one_out_tables.place(0.19, band, interval=[0.187, 0.193]) == "above"
    assert leave_one_out_tables.place(0.17, band, interval=[0.16, 0.18]) == "below, its interval reaches in"


def test_figures_of_others_name_their_source_and_kind(root):
    published = YAML(typ="safe").load(leave_one_out_tables.PUBLISHED.read_text(encoding="utf-8"))
    assert set(published) <= set(baselines.REGISTRY)
    for theirs in published.values():
        for figure in theirs["figures"]:
            assert figure["kind"] in ("published", "published, another loss", "count") and figure["source"]
            assert all(0 < figure[metric] < 1 for metric in leave_one_out_tables.COMPARED)
    with pytest.raises(StudyError, match="has no table"):
        leave_one_out_tables.write_all()
