"""Baselines trained by gradient descent: would a wrong model pass? Each learns what only it should."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from test_baselines import SETTINGS as COUNTED
from toy_catalog import catalog_of

from dualrec_utils.core import config, evaluation, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import experiment, gce_gnn, hide, sequences, unisrec
from dualrec_utils.models.baselines.base import Diverged
from dualrec_utils.models.lstm.sequences import IGNORED
from dualrec_utils.pipeline import params
from dualrec_utils.studies.search import search as settings_search, spaces

pytestmark = pytest.mark.usefixtures("one_thread")

N = 8
CATALOG = np.arange(10, 10 + N)
MOVIES = catalog_of(
    CATALOG,
    titles=["Alien", "Aliens", "Big Night", "Blue Sky", "Babe", "Bound", "Casino", "Clue"],
    years=range(1980, 1980 + N),
    genres=[["Drama"], ["Comedy", "War"]] * (N // 2),
)
TRAINING = {
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "batch_size": 8,
    "max_epochs": 60,
    "patience": 100,
}
SHARED = TRAINING | {"max_length": 6, "dropout": 0.0}
PREFIXES = SHARED | {"prefixes_per_user": 10, "max_epochs": 45}
SETTINGS = {
    "fpmc": TRAINING | {"embedding_size": 16, "learning_rate": 0.03, "max_epochs": 150},
    "gru4rec": SHARED | {"embedding_size": 16, "n_layers": 1},
    "sasrec": SHARED | {"embedding_size": 16, "n_layers": 2, "n_heads": 2},
    "bert4rec": SHARED
    | {
        "embedding_size": 16,
        "n_layers": 1,
        "n_heads": 2,
        "mask_share": 0.3,
        "learning_rate": 0.006,
        "max_epochs": 120,
    },
    "narm": SHARED | {"embedding_size": 16, "hidden_size": 16, "embedding_dropout": 0.0},
    "stamp": SHARED | {"embedding_size": 16},
    "mcprn": SHARED | {"embedding_size": 16, "n_channels": 2, "temperature": 0.5},
    "atten_mixer": SHARED | {"embedding_size": 16, "n_heads": 2, "n_levels": 3},
    "gce_gnn": PREFIXES | {"embedding_size": 16, "n_neighbours": 3},
    "hide": PREFIXES | {"embedding_size": 16, "n_intents": 2, "longest_window": 3},
    "unisrec": SHARED
    | {"embedding_size": 16, "n_layers": 1, "n_heads": 2, "n_experts": 2, "temperature": 0.1},
    "lstm_tuned": SHARED | {"max_epochs": 30},
}
DEFAULT_RUN = params.load(config.PACKAGE_ROOT / "params.yaml").baselines.models
SEQUENCE_MODELS = [name for name in SETTINGS if name != "fpmc"]
# Position t of their states knows movies 0 ... t only, so that every position can be a target.
CAUSAL = [name for name in SEQUENCE_MODELS if name not in ("bert4rec", "gce_gnn", "hide")]

# 10, 11, ..., 17, 10, ...: what comes next is known for certain.
CYCLE = [10 + (start + np.arange(6)) % N for start in range(N)]
SHORT = [np.array([10, 11, 12, 13]), np.array([14, 15, 16]), np.array([17, 10, 14, 12])]


@pytest.fixture(autouse=True)
def _texts(monkeypatch):
    """The sentence encoder takes seconds to load, and one test of it is enough."""
    vectors = np.random.default_rng(3).normal(size=(N, 12)).astype(np.float32)
    monkeypatch.setattr(unisrec, "text_vectors", lambda catalog, sbert: vectors)


def unfitted(name, **changes):
    settings = SETTINGS[name] | changes
    return baselines.build(name, CATALOG, seed=5, catalog=MOVIES, **settings)


def quick(name):
    """Any baseline; one that is trained has two epochs."""
    if name in SETTINGS:
        return unfitted(name, max_epochs=2)
    return baselines.build(name, CATALOG, seed=5, **COUNTED[name])


def prepared(name):
    """A model with its network built and one epoch's examples as tensors."""
    model = unfitted(name, max_epochs=1).fit(SHORT)
    columns = [history - 10 for history in CYCLE]
    model._network = model._build(columns)
    examples = model._examples(columns, np.random.default_rng(1))
    return model, [torch.from_numpy(array) for array in examples]


def best_unseen(model, queries):
    """The movie of highest score that is not in the query, for each query."""
    scores = model.score(queries)
    for row, query in enumerate(queries):
        scores[row, query - 10] = -np.inf
    return CATALOG[scores.argmax(axis=1)].tolist()


@pytest.mark.parametrize("name", DEFAULT_RUN)
def test_every_baseline_of_the_default_run_fits_and_scores(name):
    """Also one that was added a minute ago and has no test of its own yet."""
    short = {"max_epochs": 1} if "max_epochs" in DEFAULT_RUN[name] else {}
    model = baselines.build(name, CATALOG, seed=1, catalog=MOVIES, **DEFAULT_RUN[name] | short)
    histories = [np.array([10, 11, 12, 13]), np.array([12, 11, 10, 15])] * 4
    scores = model.fit(histories).score(histories[:2])
    assert scores.shape == (2, N) and np.isfinite(scores).all()


def test_every_baseline_can_be_built_and_no_test_is_of_one_that_is_gone():
    assert set(DEFAULT_RUN) <= set(baselines.REGISTRY)
    assert set(SETTINGS) | set(COUNTED) <= set(baselines.REGISTRY)


@pytest.mark.parametrize("name", [*COUNTED, *SETTINGS])
class TestEvery:
    def test_a_case_depends_neither_on_its_neighbours_nor_on_their_order(self, name):
        model = quick(name).fit(CYCLE)
        queries = [np.array([12]), np.arange(10, 16), np.array([13, 11, 10]), np.array([], dtype=int)]
        together = model.score(queries)
        assert together.shape == (4, N) and together.dtype == np.float64 and np.isfinite(together).all()
        assert np.allclose(model.score(queries[::-1])[::-1], together, rtol=0, atol=1e-4)
        for row, query in enumerate(queries):
            assert np.allclose(model.score([query])[0], together[row], rtol=0, atol=1e-4)
        assert model.score([]).shape == (0, N)

    def test_two_fits_agree_to_the_digit(self, name):
        first, second = (quick(name).fit(SHORT).score([np.array([10, 14])]) for _ in range(2))
        assert np.array_equal(first, second)

    def test_arguments_are_not_changed_and_strangers_refused(self, name):
        histories, query = [history.copy() for history in SHORT], np.array([14, 10])
        model = quick(name).fit(histories)
        model.score([query])
        assert all(np.array_equal(a, b) for a, b in zip(histories, SHORT, strict=True))
        assert query.tolist() == [14, 10]
        with pytest.raises(StudyError, match="item 99 is not in the catalog of 8 items"):
            model.score([np.array([10]), np.array([10, 99])])
        with pytest.raises(StudyError, match="item 9 is not in the catalog"):
            quick(name).fit([np.array([9])])

    def test_nothing_to_learn_from_and_scores_before_fitting_are_refused(self, name):
        for nothing in ([], [np.array([], dtype=int)]):
            with pytest.raises(StudyError, match="no training interaction"):
                quick(name).fit(nothing)
        with pytest.raises(RuntimeError, match="must be fitted"):
            quick(name).score([np.array([10])])

    def test_movies_nobody_watched_can_be_scored_and_asked(self, name):
        scores = quick(name).fit(SHORT[:1]).score([np.array([17]), np.array([10])])
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", SETTINGS)
class TestEveryTrained:
    def test_overfits_a_cycle(self, name):
        model = unfitted(name).fit(CYCLE)
        queries = [history[:end] for history in CYCLE for end in (2, 5)]
        expected = [10 + (query[-1] - 10 + 1) % N for query in queries]
        assert best_unseen(model, queries) == expected
        losses = model.curves.query("metric == 'loss'")["value"].to_numpy()
        assert losses[-1] < losses[0] / 2

    def test_gradients_reach_every_parameter(self, name):
        model, examples = prepared(name)
        model._network.train()
        model._loss(*examples).backward()
        for label, parameter in model._network.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, label

    def test_order_is_used(self, name):
        # 10 and 11 in one order are followed by 12, in the other by 13.
        model = unfitted(name).fit([np.array([10, 11, 12]), np.array([11, 10, 13])] * 4)
        assert best_unseen(model, [np.array([10, 11]), np.array([11, 10])]) == [12, 13]

    def test_the_seed_matters_and_global_state_does_not(self, name):
        torch.manual_seed(99)
        before, deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
        scores = unfitted(name, max_epochs=1).fit(SHORT).score([np.array([10])])
        assert torch.equal(before, torch.get_rng_state())
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        settings = SETTINGS[name] | {"max_epochs": 1}
        other = baselines.build(name, CATALOG, seed=6, catalog=MOVIES, **settings).fit(SHORT)
        assert not np.allclose(scores, other.score([np.array([10])]))

    def test_empty_histories_get_popularity_and_movies_nobody_watched_come_last(self, name):
        model = unfitted(name, max_epochs=1).fit(
            [np.array([10, 11, 12]), np.array([11, 12]), np.array([12])]
        )
        scores = model.score([np.array([], dtype=int), np.array([12]), np.array([17])])
        assert np.argsort(-scores[0], kind="stable")[:3].tolist() == [2, 1, 0]
        assert (scores[:, 3:].max(axis=1) < scores[:, :3].min(axis=1)).all()

    def test_histories_too_short_to_learn_from_are_refused(self, name):
        with pytest.raises(StudyError, match="histories of two items or more"):
            unfitted(name).fit([np.array([10]), np.array([11])])

    def test_a_wrong_hyperparameter_lists_the_models_own(self, name):
        with pytest.raises(StudyError, match=f"{name} has no hyperparameter 'hops'; .*learning_rate"):
            unfitted(name, hops=2)
        with pytest.raises(StudyError, match="learning_rate is 0; allowed: a number from"):
            unfitted(name, learning_rate=0)


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_more_than_the_last_movie_is_read(name):
    # STAMP starts from almost nothing, as its authors have it.
    model = unfitted(name, max_epochs=400 if name == "stamp" else 100)
    model.fit([np.array([10, 12, 13]), np.array([11, 12, 14])] * 4)
    assert best_unseen(model, [np.array([10, 12]), np.array([11, 12])]) == [13, 14]


def test_a_first_order_chain_cannot_do_that():
    model = baselines.build("markov", CATALOG, seed=5, smoothing=1.0)
    scores = model.fit([np.array([10, 12, 13]), np.array([11, 12, 14])] * 4).score(
        [np.array([10, 12]), np.array([11, 12])]
    )
    assert np.array_equal(scores[0], scores[1])


@pytest.mark.parametrize("name", CAUSAL)
def test_no_position_knows_what_comes_later(name):
    network = prepared(name)[0]._network.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        # Far from where training starts, so that whatever is read shows.
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    rows = torch.tensor([[1, 2, 3, 4, 5, 6]])
    other = torch.tensor([[1, 2, 3, 8, 7, 7]])
    with torch.no_grad():
        one, two = network.states(rows), network.states(other)
    assert torch.allclose(one[:, :3], two[:, :3], atol=1e-5)
    assert not torch.allclose(one[:, 3:], two[:, 3:], atol=1e-3)


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_only_the_last_movies_are_read(name):
    model = unfitted(name, max_epochs=2).fit(CYCLE)
    long, cut = np.array([17, 16, 10, 11, 12, 13, 14, 15]), np.array([10, 11, 12, 13, 14, 15])
    assert np.allclose(*model.score([long, cut]), rtol=0, atol=1e-5)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(1, 8), st.integers(0, 99))
def test_each_movie_but_the_first_is_a_target_once_an_epoch(lengths, max_length, seed):
    starts = np.cumsum([0, *lengths])
    histories = [np.arange(a, b) for a, b in itertools.pairwise(starts)]
    settings = SETTINGS["gru4rec"] | {"max_length": max_length}
    model = baselines.build("gru4rec", np.arange(200), seed=1, **settings)
    rows, targets = model._examples(histories, np.random.default_rng(seed))
    real = targets != IGNORED
    assert sorted(targets[real]) == sorted(movie for history in histories for movie in history[1:])
    # Histories count upwards, so the row before a target is its column.
    assert (rows[real] == targets[real]).all()


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 99))
def test_prefixes_end_right_before_their_target(lengths, n_prefixes, seed):
    histories = [np.arange(length) for length in lengths]
    model = unfitted("gce_gnn", prefixes_per_user=n_prefixes)
    rows, targets = model._examples(histories, np.random.default_rng(seed))
    assert len(rows) == sum(min(n_prefixes, length - 1) for length in lengths)
    for row, (target,) in zip(rows, targets, strict=True):
        assert row[row != 0].tolist() == list(range(1, target + 1))[-6:]


def test_masked_movies_are_the_targets():
    model = unfitted("bert4rec", mask_share=0.01)
    rows, targets = model._examples([np.arange(7), np.arange(3)], np.random.default_rng(0))
    assert len(rows) % 2 == 0
    mask = N + 1
    assert ((rows == mask) == (targets != IGNORED)).all()
    assert ((targets != IGNORED).sum(axis=1) == 1).all()
    # The second half is masked at the end, as histories are when scored.
    for row in rows[len(rows) // 2 :]:
        real = row[row != 0]
        assert real[-1] == mask and (real[:-1] != mask).all()


def test_training_stops_and_keeps_the_best_epoch():
    script, seen = iter([0.1, 0.3, 0.2, 0.3, 0.9]), []

    def validate(score):
        seen.append(score([np.array([10, 11])]))
        return next(script)

    model = unfitted("gru4rec", patience=2).fit(CYCLE, validate=validate)
    assert model.best_epoch == 2
    assert len(seen) == 4
    assert np.array_equal(model.score([np.array([10, 11])]), seen[1])
    assert not np.array_equal(seen[1], seen[3])
    values = model.curves.query("part == 'validation'")
    assert values["value"].tolist() == [0.1, 0.3, 0.2, 0.3]
    assert values["epoch"].tolist() == [1, 2, 3, 4]


def test_a_loss_that_is_no_number_names_the_model_and_its_settings(monkeypatch):
    model = unfitted("gru4rec")
    real = type(model)._loss
    monkeypatch.setattr(type(model), "_loss", lambda self, *arrays: real(self, *arrays) * float("nan"))
    with pytest.raises(Diverged, match=r"GRU4Rec: the loss is nan in epoch 1 with .*'learning_rate': 0.01"):
        model.fit(CYCLE)
    with pytest.raises(RuntimeError, match="must be fitted"):
        model.score([np.array([10])])


def test_settings_are_all_hyperparameters():
    assert unfitted("hide").settings == SETTINGS["hide"]


def test_fpmc_by_hand():
    model = baselines.build(
        "fpmc", np.array([10, 20]), seed=1, **SETTINGS["fpmc"] | {"embedding_size": 2, "max_epochs": 1}
    ).fit([np.array([10]), np.array([20]), np.array([10, 10])], user_ids=[7, 8, 9])
    network = model._network
    with torch.no_grad():
        network.users.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
        network.item_for_user.weight.copy_(torch.tensor([[2.0, 4], [6, 8]]))
        network.last.weight.copy_(torch.tensor([[1.0, 1], [0, 3]]))
        network.item_for_last.weight.copy_(torch.tensor([[10.0, 0], [0, 100]]))
    known = model.score([np.array([20, 10])], user_ids=[8])[0]
    assert known == pytest.approx([4 + 10, 8 + 100])
    # A stranger: the mean of (2, 4) and (6, 8) is (4, 6).
    folded = model.score([np.array([20, 10])], user_ids=[55])[0]
    assert folded == pytest.approx([4 * 2 + 6 * 4 + 10, 4 * 6 + 6 * 8 + 100])
    assert np.array_equal(model.score([np.array([20, 10])])[0], folded)
    margin = (1 * 2 + 1 * 10) - (1 * 6 + 1 * 100)
    loss = model._loss(*(torch.tensor([value]) for value in (0, 0, 0, 1)))
    assert loss.item() == pytest.approx(np.log1p(np.exp(-margin)))


def test_fpmc_draws_negatives_that_the_user_did_not_watch():
    histories = [np.array([0, 1, 2, 3]), np.arange(N), np.array([5])]
    users, last, following, negatives = unfitted("fpmc")._examples(histories, np.random.default_rng(0))
    assert users.tolist() == [0, 0, 0]
    assert last.tolist() == [0, 1, 2] and following.tolist() == [1, 2, 3]
    assert (negatives > 3).all()


def test_session_graph_by_hand():
    # 1, 2, 3, 2 and padding: 2 stands right after 1, before and after 3.
    graph = gce_gnn.session_graph(torch.tensor([[1, 2, 3, 2, 0]]))[0].tolist()
    assert graph == [
        [1, 2, 0, 2, 0],
        [3, 1, 4, 1, 0],
        [0, 4, 1, 4, 0],
        [3, 1, 4, 1, 0],
        [0, 0, 0, 0, 0],
    ]


def test_global_graph_by_hand():
    # Up to three apart: 0-1 twice, 0-2 once, 0-3 once, 1-2, 1-3, 2-3 once; 0-4 is four apart.
    histories = [np.array([0, 1, 2, 3, 4]), np.array([1, 0])]
    neighbours, weights = gce_gnn.global_graph(histories, 6, n_neighbours=2)
    assert neighbours[0].tolist() == [0, 0]
    assert neighbours[1].tolist() == [2, 3]
    assert weights[1] == pytest.approx([2 / 3, 1 / 3])
    assert neighbours[2].tolist() == [1, 3]
    # 4 has 1, 2 and 3, one each: the lowest two are kept. Nobody watched 5.
    assert neighbours[5].tolist() == [2, 3]
    assert neighbours[6].tolist() == [0, 0] and weights[6].tolist() == [0, 0]


def test_hyperedges_by_hand():
    rows = torch.tensor([[5, 6, 7, 0]])
    windows = hide.window_edges(rows, 3)[0].int().tolist()
    # Of two: 5 6, 6 7, (7 and padding); of three: 5 6 7, (6 7 and padding).
    assert windows == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert hide.transition_edges(rows)[0].int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
    ]


def test_an_intent_holds_the_nearest_share_of_the_history():
    network = prepared("hide")[0]._network
    rows = torch.tensor([[5, 6, 7, 0]])
    parts = torch.tensor([[[1.0, 0], [0, 1], [1, 0.1], [1, 0]]]).expand(2, -1, -1)[None]
    prototypes = torch.tensor([[[1.0, 0]], [[0, 1]]])
    edges = network._intent_edges(rows, parts, prototypes)[0, :, 0].int().tolist()
    # floor(0.4 x 3) + 1 = 2 movies; the padding, though as near as can be, is none.
    assert edges == [[1, 0, 1, 0], [0, 1, 1, 0]]


def test_hard_routing_leaves_other_channels_alone():
    network = prepared("mcprn")[0]._network.eval()
    with torch.no_grad():
        network.temperature = 0.001
        network.purposes.copy_(torch.eye(16)[:2])
        network.items.weight[1] = torch.eye(16)[0]
        network.items.weight[2] = torch.eye(16)[1]
        states = network.states(torch.tensor([[1, 2]]))[0].view(2, 2, 16)
    assert (states[0, 1] == 0).all() and (states[0, 0] != 0).any()
    assert torch.equal(states[1, 0], states[0, 0]) and (states[1, 1] != 0).any()


def test_gru4rec_is_a_gru_by_torch_and_a_product():
    model, _ = prepared("gru4rec")
    network = model._network.eval()
    rows = torch.tensor([[3, 1, 2]])
    with torch.no_grad():
        _, last = network.gru(network.items.weight[rows])
        expected = last[0] @ network.items.weight[1:].T + network.bias
        assert torch.allclose(network.logits(network.states(rows)[:, -1]), expected)


def test_repeated_movies_are_one_node():
    rows = torch.tensor([[4, 5, 4, 0]])
    assert sequences.first_occurrence(rows).int().tolist() == [[1, 1, 0, 0]]
    assert sequences.from_the_end(rows).tolist() == [[2, 1, 0, 0]]
    shares = sequences.masked_softmax(torch.zeros(2, 3), torch.tensor([[1, 1, 0], [0, 0, 0]]).bool())
    assert shares.tolist() == [[0.5, 0.5, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", ["unisrec", "lstm_tuned"])
def test_models_that_read_titles_say_when_there_are_none(name):
    model = baselines.build(name, CATALOG, seed=5, **SETTINGS[name])
    with pytest.raises(StudyError, match="give it the `catalog`"):
        model.fit(CYCLE)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sasrec", {"n_heads": 3}, "embedding_size 16 must be a multiple of n_heads 3"),
        ("hide", {"n_intents": 3}, "embedding_size 16 must be a multiple of n_intents 3"),
        ("gru4rec", {"dropout": 1}, "dropout is 1; allowed: a number from 0 to 0.95"),
        ("gru4rec", {"max_length": 0}, "max_length is 0; allowed: an integer from 1"),
        ("gce_gnn", {"prefixes_per_user": 0.5}, "prefixes_per_user is 0.5; allowed: an integer"),
    ],
)
def test_impossible_hyperparameters_are_named(name, changes, message):
    with pytest.raises(StudyError, match=message):
        unfitted(name, **changes)


def test_validation_hands_out_histories_and_takes_scores(tiny):
    catalog = load_catalog("ml-100k")
    histories = list(splits.load_histories("ml-100k", "train").values())
    chosen = SETTINGS["gru4rec"] | {"max_epochs": 3}
    values = experiment.trial("gru4rec", chosen, histories, dataset="ml-100k", seed=1)
    # The value by which training stopped is the one that evaluation finds in written predictions.
    measure = experiment.validation("ml-100k", seed=1)
    model = baselines.build("gru4rec", catalog.ids, seed=1, catalog=catalog, **chosen)
    model.fit(histories, validate=lambda score: measure(score)["ndcg@5"])
    assert values["ndcg@5"] == model.curves.query("metric == 'ndcg@5'")["value"].max()
    assert (values["n_epochs"], values["best_epoch"]) == (model.curves["epoch"].max(), model.best_epoch)
    experiment.write_predictions(model, "gru4rec", dataset="ml-100k")
    cases = evaluation.per_case("gru4rec", Scope("ml-100k", "baselines", "next_item", "validation"))
    assert cases.groupby("user_id")["ndcg@5"].mean().mean() == pytest.approx(values["ndcg@5"])


def test_settings_that_diverge_leave_the_others(tiny, monkeypatch):
    kind = baselines.model_class("gru4rec")
    real = kind._loss

    def broken(self, *arrays):
        return real(self, *arrays) * (float("nan") if self.learning_rate == 0.5 else 1)

    monkeypatch.setattr(kind, "_loss", broken)
    good = SETTINGS["gru4rec"] | {"max_epochs": 1}
    monkeypatch.setitem(spaces.SPACES, "gru4rec", {"learning_rate": [0.5]})
    table = settings_search.run("gru4rec", seed=1, n_draws=2, models={"gru4rec": good})
    assert table["learning_rate"].tolist() == [0.01, 0.5]
    assert table["ndcg@5"].isna().tolist() == [False, True]
    with pytest.raises(Diverged, match="gru4rec: every setting diverged"):
        settings_search.run("gru4rec", seed=1, n_draws=1, models={"gru4rec": good | {"learning_rate": 0.5}})


@pytest.mark.parametrize("name", SETTINGS)
def test_search_draws_settings_that_the_model_has(name):
    drawn = settings_search.draws(name, SETTINGS[name], n_draws=8, seed=3)
    assert drawn[0] == SETTINGS[name]
    assert len({str(keywords) for keywords in drawn}) == 8
    assert drawn == settings_search.draws(name, SETTINGS[name], n_draws=8, seed=3)
    assert drawn[1:] != settings_search.draws(name, SETTINGS[name], n_draws=8, seed=4)[1:]
    assert all(keywords["max_epochs"] == SETTINGS[name]["max_epochs"] for keywords in drawn)


def test_every_space_of_a_baseline_names_its_hyperparameters():
    for name in set(spaces.SPACES) & set(baselines.REGISTRY):
        space = spaces.SPACES[name]
        assert set(space) <= set(baselines.model_class(name).hyperparameters())


def test_a_model_without_a_space_has_its_defaults_alone():
    assert settings_search.draws("most_popular", {}, n_draws=5, seed=1) == [{}]
    with pytest.raises(StudyError, match="n_draws is 0"):
        settings_search.draws("most_popular", {}, n_draws=0, seed=1)


@given(st.integers(1, 50), st.integers(0, 50), st.booleans(), st.integers(0, 99))
def test_draws_lie_in_their_range(low, width, log, seed):
    draw = np.random.default_rng(seed)
    value = spaces.Between(low, low + width, log=log).draw(draw)
    assert type(value) is int and low <= value <= low + width
    share = spaces.Between(low / 64, (low + width) / 64, log=log).draw(draw)
    assert type(share) is float and low / 64 * 0.994 <= share <= (low + width) / 64 * 1.006
