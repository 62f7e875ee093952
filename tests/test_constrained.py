"""Decoding constrained to the catalog, against every title scored by a forward pass of its own."""

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch
from hypothesis import given, settings, strategies as st

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, TEXT
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import chat, constrained, loading, prompts, trie
from dualrec_utils.models.movielm import documents as movielm_data
from dualrec_utils.pipeline import schemas

pytestmark = pytest.mark.usefixtures("one_thread")

TITLES = [
    ("Alien", 1979), ("Aliens", 1986), ("Alien 3", 1992), ("Alien", None), ("Fargo", 1996),
    ("Film", 1961), ("Film 01", 1961), ("Film 02", 1962), ("Film 03", 1962), ("Toy Story", 1995),
    ("Toy", 1995), ("'Til There Was You", 1997), ("Amélie", 2001), ("187", 1997), ("¡Átame!", 1990),
]  # fmt: skip
ITEMS = pd.DataFrame(
    {
        "item_id": np.arange(len(TITLES)) * 3 + 5,
        "title": [title for title, _ in TITLES],
        "year": pd.array([year for _, year in TITLES], dtype="Int64"),
        "genres": [["Drama"]] * len(TITLES),
    }
)
CATALOG = Catalog.of(ITEMS)
NAMES = list(CATALOG.names.values())
CASES = pd.DataFrame(
    {
        CASE: ["a", "b", "c", "d"],
        HISTORY: [np.array([5]), np.array([5, 8, 11]), np.array([17, 20]), np.array([47, 44, 41, 38, 35])],
    }
)
PROMPTS = prompts.build_prompts(CASES, CATALOG, hints=pd.Series({"a": 5, "b": 20, "c": 8, "d": 47}))
ARCHITECTURES = ("mistral", "mistral with a chat template", "qwen2", "qwen2 that reasons")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def pair(request, tmp_path_factory):
    """A tiny random model and its tokenizer, loaded as a user's own would be."""
    folder = tmp_path_factory.mktemp("model")
    if request.param.startswith("mistral"):
        tiny_models.tiny_mistral(folder, chat="chat" in request.param)
    else:
        tiny_models.tiny_qwen2(folder, reasoning="reasons" in request.param)
    return loading.load_model(folder)


@pytest.fixture(scope="module")
def mistral(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistral")
    return loading.load_model(tiny_models.tiny_mistral(folder, chat=False))


@pytest.fixture(scope="module")
def full(mistral):
    """Scores of the whole catalog."""
    return score(mistral)


def brute_force(model, tokenizer, texts, names=NAMES):
    return tiny_models.plain_title_scores(model, tokenizer, texts, names)


def rank(pair, texts=PROMPTS, catalog=CATALOG, **settings):
    return constrained.rank_titles(*pair, texts, catalog, label="test", **settings)


def score(pair, texts=PROMPTS, catalog=CATALOG, **settings):
    return constrained.score_titles(*pair, texts, catalog, label="test", **settings)


def best(scores, k):
    return np.argsort(-scores, axis=1)[:, :k]


@pytest.mark.parametrize("batch_size, titles_at_once", [(1, 1), (3, 4), (4, 64)])
def test_scores_are_those_of_brute_force(pair, batch_size, titles_at_once):
    scores = score(pair, batch_size=batch_size, titles_at_once=titles_at_once)
    np.testing.assert_allclose(scores, brute_force(*pair, PROMPTS), atol=1e-4, rtol=0)


def test_exact_search_finds_the_best_by_brute_force(pair):
    truth = brute_force(*pair, PROMPTS)
    for k, width in ((1, 1), (4, 2), (10, 16), (15, 3)):
        scores = rank(pair, k=k, width=width, batch_size=3)
        np.testing.assert_array_equal(best(scores, k), best(truth, k))
        listed = np.isfinite(scores)
        assert (listed.sum(axis=1) >= k).all()
        np.testing.assert_allclose(scores[listed], truth[listed], atol=1e-4, rtol=0)


def test_excluded_movies_are_skipped_and_the_next_best_take_their_place(pair):
    truth = brute_force(*pair, PROMPTS)
    for row, history in enumerate(CASES[HISTORY]):
        truth[row, np.searchsorted(ITEMS[ITEM], history)] = -np.inf
    for method in constrained.METHODS:
        scores = rank(pair, k=10, width=15, excluded=constrained.seen_items(CASES), method=method)
        np.testing.assert_array_equal(best(scores, 10), best(truth, 10))
        assert not np.isfinite(scores[~np.isfinite(truth)]).any()


def test_a_beam_as_wide_as_the_catalog_is_exact_and_a_narrow_one_is_full_of_real_movies(pair):
    truth = brute_force(*pair, PROMPTS)
    wide = rank(pair, k=10, width=60, method="beam")
    np.testing.assert_array_equal(best(wide, 10), best(truth, 10))
    narrow = rank(pair, k=5, width=5, method="beam")
    listed = np.isfinite(narrow)
    assert (listed.sum(axis=1) >= 5).all()
    np.testing.assert_allclose(narrow[listed], truth[listed], atol=1e-4, rtol=0)


def test_a_beam_never_lists_better_than_the_exact_search(mistral):
    exact = rank(mistral, k=6, width=6)
    beam = rank(mistral, k=6, width=6, method="beam")
    best_of = [np.sort(scores, axis=1)[:, -6:] for scores in (beam, exact)]
    assert (best_of[0] <= best_of[1] + 1e-4).all()


@given(
    st.lists(st.lists(st.sampled_from(list(ITEMS[ITEM])), unique=True, max_size=15), min_size=4, max_size=4)
)
def test_candidates_may_differ_from_prompt_to_prompt(mistral, full, candidates):
    scores = score(mistral, candidates=candidates, titles_at_once=4)
    wanted = np.array([ITEMS[ITEM].isin(chosen) for chosen in candidates])
    np.testing.assert_array_equal(np.isfinite(scores), wanted)
    np.testing.assert_allclose(scores[wanted], full[wanted], atol=1e-4, rtol=0)


def test_lines_with_genres_are_scored_as_histories_write_them(mistral):
    names = [f"{name} (Drama)" for name in NAMES]
    truth = brute_force(*mistral, PROMPTS, names)
    np.testing.assert_allclose(score(mistral, genres=True), truth, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(best(rank(mistral, k=4, genres=True), 4), best(truth, 4))


@settings(max_examples=25)
@given(st.sets(st.sampled_from(list(ITEMS[ITEM])), max_size=15))
def test_whatever_is_excluded_the_rest_is_ranked_exactly(mistral, full, excluded):
    rest = np.where(ITEMS[ITEM].isin(excluded), -np.inf, full[:1])
    scores = rank(mistral, PROMPTS[:1], k=3, width=2, excluded=[sorted(excluded)])
    n = min(3, len(CATALOG) - len(excluded))
    np.testing.assert_array_equal(best(scores, n), best(rest, n))
    assert np.isfinite(scores).sum() >= n


def test_everything_excluded_leaves_nothing(mistral):
    scores = rank(mistral, PROMPTS[:1], excluded=[list(ITEMS[ITEM])])
    assert not np.isfinite(scores).any()
    lists = constrained.ranked_lists(scores, CASES[:1], CATALOG, seed=1)
    assert len(lists) == 0


def test_order_and_batches_of_the_prompts_change_nothing(mistral):
    together = rank(mistral, k=5, batch_size=4)
    np.testing.assert_array_equal(together, rank(mistral, k=5, batch_size=4))
    alone = rank(mistral, PROMPTS[::-1], k=5, batch_size=1)[::-1]
    np.testing.assert_array_equal(best(together, 5), best(alone, 5))
    assert rank(mistral, []).shape == (0, len(CATALOG))
    assert score(mistral, []).shape == (0, len(CATALOG))


def test_lists_are_predictions_with_titles(full):
    lists = constrained.ranked_lists(full, CASES, CATALOG, seed=4)
    predictions.check(lists, CASES, ITEMS[ITEM].to_numpy())
    names = dict(zip(ITEMS[ITEM], NAMES, strict=True))
    assert lists[TEXT].tolist() == [names[item] for item in lists[ITEM]]
    assert lists.groupby(CASE).size().tolist() == [10, 10, 10, 10]
    seen = dict(zip(CASES[CASE], CASES[HISTORY], strict=True))
    assert not any(item in seen[case] for case, item in zip(lists[CASE], lists[ITEM], strict=True))
    kept = constrained.ranked_lists(full, CASES, CATALOG, seed=4, exclude_seen=False)
    np.testing.assert_array_equal(
        kept[ITEM].to_numpy(dtype=int).reshape(4, 10), ITEMS[ITEM].to_numpy()[best(full, 10)]
    )


def test_score_frame_holds_what_was_scored():
    scores = np.full((4, len(CATALOG)), -np.inf)
    scores[2, 1] = -3.5
    frame = constrained.score_frame(scores, CASES, CATALOG)
    assert frame.to_dict("records") == [{"case_id": "c", "item_id": 8, "log_probability": -3.5}]


def test_overlap_by_hand():
    exact = np.array([[-1.0, -2.0, -3.0, -4.0], [-4.0, -3.0, -2.0, -1.0]])
    other = np.array([[-1.0, -np.inf, -np.inf, -9.0], [-np.inf, -5.0, -6.0, -np.inf]])
    assert constrained.overlap(other, exact, k=2) == (1 / 2 + 1 / 2) / 2
    assert constrained.overlap(exact, exact, k=3) == 1


@given(st.integers(1, 3_000), st.integers(1, 3_000))
def test_as_many_cases_as_wanted_are_spread_evenly(n_cases, n_wanted):
    rows = constrained.evenly(n_cases, n_wanted)
    assert len(rows) == min(n_cases, n_wanted) and rows[0] == 0 and rows[-1] < n_cases
    gaps = np.diff([*rows, n_cases])
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


def test_what_movielm_reads_is_what_it_was_trained_on():
    tokenizer = movielm_data.train_tokenizer(CATALOG, vocabulary=350)
    documents = movielm_data.Documents(CATALOG, tokenizer, max_tokens=512)
    history = CASES[HISTORY][3]
    for genres in (False, True):
        prompt = prompts.build_history_prompts(CASES, CATALOG, n_recent=4, genres=genres)[3]
        (line,) = trie.encode_lines(tokenizer, [NAMES[0]], prompt)
        read = chat.prompt_ids(tokenizer, prompt) + line
        taught, _ = documents.document(history[-4:], genres=genres, budget=512)
        assert read == taught + documents.plain[5]


def test_trie_by_hand():
    tree = trie.build_trie([[7, 9], [7, 8, 9], [5, 9]], ["A", "B", "C"])
    # Root; 5 and 7; 9 after 5, 8 and 9 after 7; 9 after 8.
    assert tree.tokens.tolist() == [0, 5, 7, 9, 8, 9, 9]
    assert tree.depth.tolist() == [0, 1, 1, 2, 2, 2, 3]
    assert tree.n_children.tolist() == [2, 1, 2, 0, 1, 0, 0]
    assert tree.first_child[[0, 1, 2, 4]].tolist() == [1, 3, 4, 6]
    assert tree.paths.tolist() == [[2, 5, -1], [2, 4, 6], [1, 3, -1]]
    assert tree.leaves.tolist() == [5, 6, 3]
    assert tree.order.tolist() == [2, 1, 0]
    assert (tree.first_leaf[2], tree.end_leaf[2]) == (1, 3)


@given(st.sets(st.lists(st.integers(1, 3), max_size=5).map(tuple), min_size=1, max_size=30))
def test_every_path_of_a_trie_spells_its_title(titles):
    lines = [[*line, 9] for line in sorted(titles, reverse=True)]
    tree = trie.build_trie(lines, [str(line) for line in lines])
    for line, path in zip(lines, tree.paths, strict=True):
        assert tree.tokens[path[path >= 0]].tolist() == line
    for node in range(len(tree.tokens)):
        below = tree.order[tree.first_leaf[node] : tree.end_leaf[node]]
        assert set(below) == {t for t in range(len(lines)) if node == 0 or node in tree.paths[t]}
        children = range(tree.first_child[node], tree.first_child[node] + tree.n_children[node])
        assert [tree.depth[child] for child in children] == [tree.depth[node] + 1] * len(children)


def test_titles_that_cannot_be_told_apart_are_refused(mistral):
    with pytest.raises(StudyError, match="'Fargo' and 'Fargo' are written alike"):
        trie.build_trie([[1, 2], [1, 2]], ["Fargo", "Fargo"])
    with pytest.raises(StudyError, match="'Alien' and 'Aliens' begin alike"):
        trie.build_trie([[1], [1, 2]], ["Alien", "Aliens"])
    with pytest.raises(StudyError, match="no item"):
        trie.build_trie([], [])
    twice = ITEMS.assign(title="Fargo", year=1996)
    with pytest.raises(StudyError, match=r"'Fargo \(1996\)' and 'Fargo \(1996\)' are written alike"):
        rank(mistral, catalog=Catalog.of(twice))
    with pytest.raises(StudyError, match="holds a line break"):
        rank(mistral, catalog=Catalog.of(ITEMS.assign(title=[f"{name}\nmore" for name in ITEMS["title"]])))


def test_a_tokenizer_that_joins_the_prefix_to_the_title_is_refused(mistral, monkeypatch):
    monkeypatch.setattr(trie, "format_answer", lambda names: f"—{names[0]}\n")
    with pytest.raises(StudyError, match="joins the answer prefix '-' to 'Alien"):
        rank(mistral)


def test_bad_arguments_are_refused_by_name(mistral):
    with pytest.raises(StudyError, match="method 'greedy' is unknown; allowed: exact, beam"):
        rank(mistral, method="greedy")
    with pytest.raises(StudyError, match="width 5 cannot hold 10 items"):
        rank(mistral, method="beam", width=5)
    with pytest.raises(StudyError, match="item 999 is not in the catalog"):
        score(mistral, candidates=[[5], [8, 999], [], []])
    with pytest.raises(StudyError, match=r"take \d{4,5} tokens, the model reads 1024: show fewer items"):
        rank(mistral, [PROMPTS[0] * 40])


def test_an_attention_without_masks_of_its_own_is_refused(mistral, monkeypatch):
    monkeypatch.setattr(mistral[0].config, "_attn_implementation_internal", "flash_attention_2")
    with pytest.raises(StudyError, match="cannot use attention 'flash_attention_2'; allowed: sdpa, eager"):
        rank(mistral)


def test_a_sliding_window_shorter_than_the_prompt_is_refused(mistral, monkeypatch):
    monkeypatch.setattr(mistral[0].config, "sliding_window", 40)
    with pytest.raises(StudyError, match="the model reads 40"):
        rank(mistral)


def test_eager_attention_gives_the_same_scores(mistral, full):
    model, _ = mistral
    model.set_attn_implementation("eager")
    try:
        np.testing.assert_allclose(score(mistral), full, atol=1e-4, rtol=0)
    finally:
        model.set_attn_implementation("sdpa")


@pytest.mark.parametrize("work", [constrained.rank_titles, constrained.score_titles])
def test_memory_that_runs_out_names_what_params_yaml_has(mistral, work):
    model, tokenizer = mistral
    hook = model.lm_head.register_forward_pre_hook(
        lambda module, inputs: torch.empty(2**55, dtype=torch.uint8)
    )
    try:
        with pytest.raises(StudyError, match="out of memory") as caught:
            work(model, tokenizer, PROMPTS, CATALOG, label="test")
    finally:
        hook.remove()
    fields = schemas.ZeroShotLlm.model_fields | schemas.LanguageModel.model_fields
    for name in ("n_recent", "n_history", "ranking", "beam_width", "quantization"):
        assert name in str(caught.value) and name in fields
    assert "batch_size" not in str(caught.value)


@pytest.mark.parametrize("method", [*constrained.METHODS, "score"])
def test_probabilities_that_are_no_numbers_are_refused(mistral, full, method):
    """Beyond the first check of the model, as overflow in 16 bits gives them."""
    model, tokenizer = mistral
    hook = model.lm_head.register_forward_hook(lambda module, inputs, output: output * torch.nan)
    try:
        with pytest.raises(StudyError, match="NaN"):
            if method == "score":
                constrained.score_titles(model, tokenizer, PROMPTS, CATALOG, label="test")
            else:
                constrained.rank_titles(model, tokenizer, PROMPTS, CATALOG, method=method, label="test")
    finally:
        hook.remove()
