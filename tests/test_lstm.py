import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st
from toy_catalog import catalog_of

from dualrec_utils.content.features import item_features
from dualrec_utils.core import config, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.lstm import (
    network as lstm_network,
    scores as lstm_scores,
    sequences as lstm_data,
    tables,
    training as lstm,
)
from dualrec_utils.models.lstm.sequences import IGNORED

# Not imported on its own: the package chooses the backend before Keras is first imported.
keras = lstm.keras
N_ITEMS = 12
SETTINGS = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01, "dropout": 0.3}


@pytest.fixture(scope="module")
def catalog():
    titles = ["Alien", "Aliens", "Blue in the Face", "Big Night"] * 3
    return catalog_of(
        range(10, 10 + N_ITEMS),
        titles=[f"{title} {number}" for number, title in enumerate(titles)],
        years=range(1990, 1990 + N_ITEMS),
        genres=[["Drama"], ["Comedy", "War"], ["Action"]] * 4,
    )


@pytest.fixture(scope="module")
def features(catalog):
    return item_features(catalog, title_vocabulary=5000, title_length=10)


@pytest.fixture(scope="module")
def histories():
    draw = np.random.default_rng(5)
    return [draw.permutation(N_ITEMS)[: draw.integers(4, N_ITEMS + 1)] + 1 for _ in range(30)]


@pytest.fixture
def model(features):
    lstm.make_deterministic(3)
    return lstm_network.build_model(features, dropout=0.3)


def same_weights(one, other):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


# --- sequences


def test_pieces_worked_by_hand():
    pieces = lstm_data.every_position([np.array([5, 6, 7, 8, 9, 10])], length=2)
    assert pieces.rows.tolist() == [[5, 6], [7, 8], [9, 0]]
    assert pieces.targets.tolist() == [[5, 6], [7, 8], [9, -1]]
    assert pieces.n_targets == 5


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 12))
def test_every_movie_but_the_first_is_a_target_once(lengths, length):
    starts = np.cumsum([0, *lengths])
    histories = [np.arange(a, b) + 1 for a, b in itertools.pairwise(starts)]
    pieces = lstm_data.every_position(histories, length=length)
    targets = np.sort(pieces.targets[pieces.targets != IGNORED])
    assert targets.tolist() == sorted(int(movie) - 1 for h in histories for movie in h[1:])
    # Histories count upwards: what precedes a target is the movie one below it.
    real = pieces.targets != IGNORED
    assert (pieces.rows[real] == pieces.targets[real]).all()
    assert pieces.rows.shape[1] == length


def test_windows_are_complete_and_ask_for_the_next_movie():
    cut = lstm_data.windows([np.arange(1, 34), np.arange(1, 31)], window=30)
    assert cut.rows.shape == (3, 30)
    assert cut.rows[2].tolist() == list(range(3, 33))
    assert cut.targets[:, 0].tolist() == [30, 31, 32]


def test_target_counts_agree_with_the_sequences():
    known = [np.arange(1, 8), np.arange(1, 5), np.arange(1, 2)]
    counts = lstm_data.target_counts({"training": known, "validation": known[:1]}, window=4)
    assert counts["part"].tolist() == ["training", "training", "validation", "validation"]
    assert counts["users"].tolist() == [2, 1, 1, 1]
    every = lstm_data.every_position(known, length=3)
    cut = lstm_data.windows(known, window=4)
    assert counts["targets"].tolist()[:2] == [every.n_targets, cut.n_targets]


def test_settings_that_give_no_target_are_refused():
    settings = {"chunk_length": 3, "window": 30}
    with pytest.raises(StudyError, match="31 items"):
        lstm_data.training_sequences([np.arange(1, 31)], training="window", **settings)
    with pytest.raises(StudyError, match="'windows'; allowed: every_position"):
        lstm_data.training_sequences([np.arange(1, 31)], training="windows", **settings)


# --- network


def test_sizes_are_the_papers(model, features):
    rows = np.array([[1, 2, 0]])
    assert model.get_layer("encoder")(rows).shape == (1, 3, 256)
    assert [model.get_layer(f"lstm_{number}").output.shape[-1] for number in (1, 2)] == [256, 128]
    assert model(rows).shape == (1, 3, N_ITEMS)
    n_rows, n_words = N_ITEMS + 1, len(features.words)
    first = 4 * 256 * (256 + 256 + 1)
    second = 4 * 128 * (256 + 128 + 1)
    n_genres = features.genres.shape[1]
    expected = n_rows * 128 + n_words * 64 + (n_genres + 1) * 64 + first + second + 129 * N_ITEMS
    assert model.count_params() == expected


def test_titles_are_means_over_real_words_only(model, features):
    encoder = model.get_layer("encoder")
    words = encoder.words.embeddings.value.detach().numpy()
    table = encoder.table().detach().numpy()
    for row in (1, 3):
        real = features.tokens[row][features.tokens[row] != 0]
        assert 0 < len(real) < 10
        np.testing.assert_allclose(table[row, 128:192], words[real].mean(axis=0), rtol=1e-5)
    assert not table[0, 128:192].any()


def test_the_wrapped_lstm_is_keras_lstm():
    lstm.make_deterministic(1)
    ours, theirs = lstm_network.TorchLstm(4), keras.layers.LSTM(4, return_sequences=True)
    inputs = np.random.default_rng(1).normal(size=(2, 7, 5)).astype("float32")
    ours.build(inputs.shape)
    theirs.build(inputs.shape)
    # Keras starts its forget gates at 1 and the other biases at 0.
    assert np.array_equal(ours.get_weights()[2], theirs.get_weights()[2])
    theirs.set_weights([weight.T for weight in ours.get_weights()])
    expected = theirs(inputs).detach().numpy()
    outputs = ours(torch.tensor(inputs)).detach().numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_what_comes_later_does_not_reach_back(model):
    short = model(np.array([[4, 2, 9]]), training=False).detach().numpy()
    padded = model(np.array([[4, 2, 9, 0, 0]]), training=False).detach().numpy()
    np.testing.assert_allclose(padded[:, :3], short, atol=1e-6)
    last = lstm_network.at_last_position(model)(np.array([[4, 2, 9]]), training=False).detach().numpy()
    np.testing.assert_allclose(last, short[:, -1:], atol=1e-6)


# --- loss and metrics


def test_padding_counts_neither_in_the_loss_nor_in_the_metrics(model):
    logits = torch.zeros((1, 4, 3))
    logits[0, 0] = torch.tensor([2.0, 0.0, 0.0])
    logits[0, 1] = torch.tensor([0.0, 1.0, 0.0])
    targets = torch.tensor([[0, 2, IGNORED, IGNORED]])
    lstm.compile_model(model)
    right = -np.log([np.exp(2) / (np.exp(2) + 2), 1 / (np.e + 2)])
    loss = model.compute_loss(y=targets, y_pred=logits)
    assert float(loss) == pytest.approx(right.mean(), rel=1e-6)
    metric = lstm.PerTarget(lstm.cross_entropy)
    metric.update_state(targets, logits)
    # Another batch with one target: a mean over three targets, not over two batches.
    metric.update_state(torch.tensor([[1, IGNORED, IGNORED, IGNORED]]), logits)
    third = -np.log(1 / (np.exp(2) + 2))
    assert float(metric.result()) == pytest.approx((right.sum() + third) / 3, rel=1e-6)


def test_ties_count_against_the_target():
    logits = torch.tensor([[1.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    targets = torch.tensor([0, 0, 0])
    assert lstm.in_top(targets, logits, k=1).tolist() == [0.0, 1.0, 0.0]
    assert lstm.in_top(targets, logits, k=2).tolist() == [1.0, 1.0, 0.0]


# --- training


def test_two_trainings_give_the_same_bits_and_another_seed_others(features, histories):
    sequences = lstm_data.every_position(histories, length=5)
    one, curves = lstm.train(features, sequences, seed=1, **SETTINGS)
    torch.rand(7)  # what ran before must not matter
    two, again = lstm.train(features, sequences, seed=1, **SETTINGS)
    other, _ = lstm.train(features, sequences, seed=2, **SETTINGS)
    assert same_weights(one, two)
    assert not same_weights(one, other)
    pd.testing.assert_frame_equal(curves, again)


@pytest.mark.parametrize("training", ["every_position", "window"])
def test_both_ways_of_training_learn_a_cycle(features, training):
    # Movie j is always followed by movie j + 1: a network that reads its input gets all of them right.
    cycles = [(np.arange(start, start + 13) % N_ITEMS) + 1 for start in range(N_ITEMS)]
    sequences = lstm_data.training_sequences(cycles, training=training, chunk_length=10, window=6)
    settings = SETTINGS | {"epochs": 8}
    model, curves = lstm.train(features, sequences, seed=1, validation=sequences, **settings)
    windows = lstm_data.windows(cycles, window=6)
    measured = lstm.measure(model, windows)
    assert measured["accuracy"] == 1.0
    assert measured["loss"] < 0.5
    assert set(curves["part"]) == {"train", "validation"}
    assert curves["epoch"].max() == 8


def test_weights_come_back_and_their_file_does_not_change(model, features, tmp_path):
    one, two = tmp_path / "one.weights.h5", tmp_path / "two.weights.h5"
    model.save_weights(one)
    lstm.make_deterministic(99)
    other = lstm_network.build_model(features, dropout=0.3)
    assert not same_weights(model, other)
    other.load_weights(one)
    assert same_weights(model, other)
    other.save_weights(two)
    assert one.read_bytes() == two.read_bytes()


# --- scores and hints


def test_scores_are_log_probabilities_of_the_cut_history(model):
    histories = [np.array([1, 2, 3, 4]), np.array([5]), np.array([3, 4])]
    scores = lstm.log_probabilities(model, histories, max_history=2)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(scores[0], scores[2], atol=1e-6)
    with pytest.raises(StudyError, match="history 1 is empty"):
        lstm.log_probabilities(model, [np.array([1]), np.array([], dtype=int)], max_history=2)


def test_hints_are_unseen_and_scores_stay_as_they_were(catalog):
    scores = np.tile(np.arange(N_ITEMS, dtype=np.float32), (2, 1))
    before = scores.copy()
    hints = lstm_scores.hints(scores, [np.array([21, 20]), np.array([10])], catalog, names="ab", seed=1)
    assert hints.tolist() == [19, 21]
    assert np.array_equal(scores, before)


@given(seed=st.integers(0, 10_000), n_values=st.integers(1, 4), n_seen=st.integers(0, N_ITEMS - 1))
def test_a_hint_is_the_first_of_the_list_of_unseen_movies(catalog, seed, n_values, n_seen):
    # Few values: equal ones are common.
    draw = np.random.default_rng(seed)
    scores = -draw.integers(0, n_values, size=(3, N_ITEMS)).astype(np.float32)
    histories = [draw.permutation(catalog.ids)[:n_seen] for _ in range(3)]
    cases = pd.DataFrame({"case_id": ["a", "b", "c"], "history": histories})
    lists = predictions.from_scores(scores, cases, catalog.ids, seed=1)
    first = lists.loc[lists["rank"] == 1, "item_id"]
    hints = lstm_scores.hints(scores, histories, catalog, names=cases["case_id"], seed=1)
    assert first.tolist() == hints.tolist()


def test_held_out_hints_are_read_from_the_lists_and_written_nowhere(tiny):
    catalog = load_catalog("ml-100k")
    lstm.make_deterministic(3)
    network = lstm_network.build_model(
        item_features(catalog, title_vocabulary=50, title_length=4), dropout=0.0
    )
    scope = Scope("ml-100k", "lstm", "next_item", "test")
    lstm_scores.score_all(network, catalog, [scope], max_history=30, seed=1)
    cases = predictions.load_cases(scope)
    draw = {"names": cases["case_id"], "seed": 1}
    best = lstm_scores.hints(handoff.load_scores("lstm", scope), list(cases["history"]), catalog, **draw)
    hints = handoff.load_hints(scope.replace(stage="zero_shot_llm"))
    assert hints.to_dict() == dict(zip(cases["case_id"], best, strict=True))
    assert not list((config.ROOT / "data").rglob("*hints*"))


def test_hints_for_training_users_come_from_models_that_never_saw_them(model, catalog):
    draw = np.random.default_rng(2)
    known = {user: draw.permutation(N_ITEMS)[:8] + 10 for user in range(1, 8)}
    trained = []

    def fit(rows, label):
        trained.append({tuple(row) for row in rows})
        return model

    earlier = {user: history[:3] for user, history in known.items() if user != 4}
    folds = {"n_folds": 3, "max_history": 30, "seed": 1}
    hints = lstm_scores.training_hints(model, known, earlier, catalog, fit=fit, **folds)
    assert hints["user_id"].tolist() == [1, 2, 3, 5, 6, 7]
    for history in known.values():
        history_rows = tuple(catalog.rows(history))
        assert sum(history_rows not in fold for fold in trained) == 1
    # One model in every fold: then both kinds of hints agree, and none stands in what was read.
    assert (hints["item_id"] == hints["in_sample_item_id"]).all()
    for user, hint in zip(hints["user_id"], hints["item_id"], strict=True):
        assert hint not in earlier[user]


def test_a_planted_leak_between_folds_is_named():
    lstm_scores.check_folds_apart([1, 2], [3])
    with pytest.raises(StudyError, match="leak: user 2 "):
        lstm_scores.check_folds_apart([1, 2], [2, 3])


def test_folds_are_even_and_do_not_depend_on_the_order_of_users():
    folds = lstm_scores.assign_folds(list(range(10)), n_folds=3, seed=4)
    assert sorted(pd.Series(folds).value_counts()) == [3, 3, 4]
    assert folds == lstm_scores.assign_folds(list(range(9, -1, -1)), n_folds=3, seed=4)
    with pytest.raises(StudyError, match="n_folds is 11"):
        lstm_scores.assign_folds(list(range(10)), n_folds=11, seed=4)


def test_hint_hits_by_hand():
    frame = pd.DataFrame({"user_id": [1, 2], "item_id": [7, 1], "in_sample_item_id": [7, 9]})
    histories = {1: np.array([1, 2, 3, 7, 5, 6, 8]), 2: np.array([1, 2, 3, 9, 5, 6, 8])}
    rates = lstm_scores.hint_hits(frame, histories).set_index("hints")["hit_rate"]
    assert rates.to_dict() == {"cross-fitted": 0.5, "in-sample": 1.0}


def test_the_likeliest_titles_are_unseen_and_in_order(model, catalog):
    histories = {"after one": [12], "for a user": [10, 15, 11]}
    table = lstm_scores.next_titles(model, histories, catalog, max_history=2, k=3)
    assert table.columns.tolist() == list(histories) and table.index.tolist() == [1, 2, 3]
    rows = [catalog.rows(history) for history in histories.values()]
    scores = lstm.log_probabilities(model, rows, max_history=2)
    for label, line, seen in zip(histories, scores, rows, strict=True):
        unseen = [row for row in np.argsort(-line) if row + 1 not in seen]
        title, year = catalog.items.loc[unseen[0], ["title", "year"]]
        assert table.loc[1, label] == f"{title} ({year}) · {np.exp(line[unseen[0]]):.1%}"
        assert not any(
            f"{catalog.items['title'][row - 1]} (" in cell for cell in table[label] for row in seen
        )


# --- tables


CURVES = pd.DataFrame(
    [
        (epoch, part, metric, epoch + offset)
        for epoch in (1, 2)
        for part, offset in (("train", 0.1), ("validation", 0.2))
        for metric in ("loss", "accuracy", "top5_accuracy")
    ],
    columns=["epoch", "part", "metric", "value"],
)


def test_curves_by_epoch_and_beside_the_papers():
    wide = tables.by_epoch(CURVES)
    assert wide["epoch"].tolist() == [1, 2] and wide["validation_loss"].tolist() == [1.2, 2.2]
    assert tables.at_end(CURVES)["train", "accuracy"] == 2.1
    measured = {"loss": 5.0, "accuracy": 0.3, "top5_accuracy": 0.4}
    paper = {key: {"train": 1.0, "validation": 2.0} for key in measured}
    beside = tables.beside_the_paper(CURVES, measured, paper, window=30)
    assert beside.loc["loss (nats)"].tolist() == [2.1, 2.2, 5.0, 1.0, 2.0]


def test_hints_of_held_out_users_are_the_first_movies_of_the_lists():
    hits = pd.DataFrame({"hints": ["cross-fitted"], "hit_rate": [0.3], "n_users": [7]})
    keys = itertools.product(
        ["validation", "test"], ["next_item", "window_of_five"], ["lstm", "lstm_seen_kept"], ["hit_rate@1"]
    )
    summary = pd.DataFrame(keys, columns=["split", "protocol", "system", "metric"])
    summary = summary.assign(value=np.arange(8) / 10, n_users=4)
    table = tables.hint_table(hits, summary)
    assert table.to_numpy().tolist() == [
        ["train", "cross-fitted", 0.3, 7],
        ["validation", "held out", 0.2, 4],
        ["test", "held out", 0.6, 4],
    ]
