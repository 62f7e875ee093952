"""Asking a model all cases of a stage: what is stored, and what is counted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny_models
from conftest import write_hints

from dualrec_utils.core import config, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM
from dualrec_utils.core.predictions import Scope, scopes
from dualrec_utils.models import handoff
from dualrec_utils.models.language import (
    answers,
    catalog_lists,
    constrained,
    generation,
    loading,
    matching,
    prompts,
)

pytestmark = pytest.mark.usefixtures("one_thread")
DATASET, STAGE = "ml-100k", "toy"


@pytest.fixture
def world(tiny, tmp_path):
    """The tiny data set with the LSTM's hints and scores, and a tiny model: (catalog, model, tokenizer)."""
    catalog = load_catalog(DATASET)
    for scope in scopes(DATASET, STAGE):
        cases = predictions.load_cases(scope)
        folder = config.handoff_dir(DATASET, "lstm")
        unseen = [next(i for i in catalog.ids if i not in set(h)) for h in cases[HISTORY]]
        write_hints(dict(zip(cases[CASE], unseen, strict=True)), scope)
        folder.mkdir(parents=True, exist_ok=True)
        scores = np.tile(np.arange(len(catalog), dtype=np.float32), (len(cases), 1))
        np.save(folder / f"scores_lstm_{scope.label}.npy", scores)
    model = loading.load_model(tiny_models.tiny_mistral(tmp_path / "model", chat=False))
    return catalog, *model


def speaker_of(world):
    decoding = {"max_new_tokens": 4, "batch_size": 16, "n_lines": 2}
    return generation.LoadedModel(*world[1:], decoding, {"model": "tiny", "revision": None})


def test_a_prompt_set_has_the_prompts_of_its_cases(world):
    on_test = Scope(DATASET, STAGE, "next_item", "test")
    wording = {"n_recent": 2, "n_titles": 3}
    hinted, bare = (
        answers.pose([on_test], world[0], with_hint=hint, **wording)[0] for hint in (True, False)
    )
    assert hinted.texts == prompts.build_prompts(hinted.cases, world[0], hints=hinted.hints, **wording)
    assert "LSTM" not in bare.texts[0] and len(bare.texts) == len(bare.cases)
    # Without the line, copies of the LSTM's movie are counted all the same.
    pd.testing.assert_series_equal(bare.hints, hinted.hints)
    history = answers.pose_histories([on_test], world[0], n_recent=2)[0]
    assert history.texts[0].count("\n- ") == 2 and history.n_titles == 0


def test_every_scope_is_answered_stored_and_counted(world):
    wanted, matcher = scopes(DATASET, STAGE), matching.TitleMatcher(world[0].items)
    posed = answers.pose(wanted, world[0], with_hint=True, n_recent=2, n_titles=2)
    counts = answers.collect(speaker_of(world), posed, "tiny_zero_shot", matcher, seed=5)
    assert counts.groupby(["split", "protocol"]).size().to_dict() == {
        (part.scope.split, part.scope.protocol): len(part.cases) for part in posed
    }
    for part in posed:
        stored = handoff.load_generations("tiny_zero_shot", part.scope)
        assert stored["prompt"].tolist() == part.texts
        assert stored["parameters"].iloc[0]["n_titles"] == 2 and stored["model"].iloc[0] == "tiny"
        kept = predictions.read("tiny_zero_shot" + predictions.SEEN_KEPT, part.scope)
        lists, _ = answers.answers_to_predictions(stored["answer"], part.cases, matcher, seed=5, limit=2)
        pd.testing.assert_frame_equal(kept, lists)
        assert len(predictions.read("tiny_zero_shot", part.scope)) <= len(kept)


def test_stored_answers_are_counted_again_as_they_were(world):
    matcher = matching.TitleMatcher(world[0].items)
    posed = answers.pose(scopes(DATASET, STAGE), world[0], with_hint=True, n_recent=2, n_titles=2)
    first = answers.collect(speaker_of(world), posed, "tiny_zero_shot", matcher, seed=5)
    asked_later = [
        replace(prompt_set, scope=prompt_set.scope.replace(stage="later")) for prompt_set in posed
    ]
    again = answers.recount(asked_later, "tiny_zero_shot", matcher, stage=STAGE)
    pd.testing.assert_frame_equal(again, first)
    assert not config.generations_dir(DATASET, "later").exists()


def test_variety_by_hand(tiny):
    scope = Scope(DATASET, STAGE, "next_item", "test")
    cases = predictions.load_cases(scope)[CASE].tolist()[:3]
    entries = [(cases[0], "a", 1), (cases[0], "b", 2), (cases[1], "a", 1), (cases[1], "b", 2)]
    entries += [(cases[2], "a", 1), (cases[2], "no movie", None)]
    lists = pd.DataFrame(entries, columns=[CASE, "text", ITEM])
    first = load_catalog(DATASET).ids[:2].tolist()
    lists[ITEM] = lists[ITEM].map(dict(zip((1, 2), first, strict=True)))
    lists = lists.assign(rank=lists.groupby(CASE).cumcount() + 1, score=1.0, seed=0)
    predictions.write(lists, "system" + predictions.SEEN_KEPT, scope)
    row = answers.variety({"system": STAGE}, scope.replace(stage="later")).loc["system"]
    # Two movies; two of three lists are the same; three of the five movies named are the first.
    assert row.tolist() == [2, 2, 3 / 5]


def test_what_is_written_beside_an_answer_is_read_after_it(world):
    """A hosted model's version is known from its answers."""

    class Late:
        def __init__(self):
            self.about = {"model": "far", "revision": None}

        def answer(self, texts, *, label, kept):
            self.about = {"model": "far", "revision": "v2"}
            return [""] * len(texts)

    scope = Scope(DATASET, STAGE, "window_of_five", "test")
    posed = answers.pose([scope], world[0], with_hint=False, n_recent=2, n_titles=2)
    answers.collect(Late(), posed, "far", matching.TitleMatcher(world[0].items), seed=5)
    assert set(handoff.load_generations("far", scope)["revision"]) == {"v2"}
    # Nothing readable: both kinds of lists are there, and empty.
    assert predictions.read("far", scope).empty


def test_the_hint_alone_is_a_list_of_one_for_every_case(world):
    scope = Scope(DATASET, STAGE, "next_item", "test")
    part = answers.pose([scope], world[0], with_hint=False, n_recent=2, n_titles=2)[0]
    lists = answers.hint_alone(part, seed=5)
    predictions.check(lists, part.cases, world[0].ids)
    assert lists[ITEM].tolist() == [part.hints[case] for case in part.cases[CASE]]
    assert set(lists["rank"]) == {1} and set(lists["seed"]) == {5}


def test_shares_are_of_titles_asked_for_and_of_test_cases():
    counts = pd.DataFrame(
        [
            ("b", "test", 0, 1, 2, 0, 0, True, False),
            ("b", "test", 3, 0, 0, 0, 0, False, True),
            ("b", "validation", 3, 3, 3, 3, 3, True, True),
            ("a", "test", 0, 0, 0, 1, 3, False, False),
        ],
        columns=["system", "split", *answers.PROBLEMS.values(), "copies_hint", "is_capped"],
    )
    table = answers.shares(counts, n_titles=3)
    assert table.index.tolist() == ["b", "a"]
    assert table.loc["b"].tolist() == pytest.approx([3 / 6, 1 / 6, 2 / 6, 0, 0, 1 / 2, 1 / 2])
    flat = answers.flat_shares(table)
    assert len(flat) == 14
    assert flat["answers/a/thoughts without an answer"] == 1
    assert flat["answers/a/said before"] == pytest.approx(1 / 3)
    assert flat["answers/b/names the LSTM's movie"] == 0.5


def test_the_catalog_is_ranked_with_and_without_seen_movies(world):
    catalog, model, tokenizer = world
    wanted = [Scope(DATASET, STAGE, "next_item", split) for split in ("validation", "test")]
    histories = answers.pose_histories(wanted, catalog, n_recent=3)
    searching = {"genres": False, "k": 5, "method": "exact", "width": 8}
    ranked = catalog_lists.rank_catalog(
        model, tokenizer, histories, catalog, "tiny_history", **searching, seed=3
    )
    assert list(ranked) == wanted
    validation, test = histories
    lists = predictions.read("tiny_history", test.scope)
    kept = predictions.read("tiny_history" + predictions.SEEN_KEPT, test.scope)
    assert lists.groupby(CASE).size().eq(5).all() and kept.groupby(CASE).size().eq(5).all()
    assert len(predictions.drop_seen(lists, test.cases)) == len(lists)
    assert len(predictions.drop_seen(kept, test.cases)) < len(kept)
    assert predictions.systems(validation.scope) == ["tiny_history"]
    # For fusion: the movies found, and the LSTM's best two of the catalog, which are its last ones.
    catalog_lists.score_for_fusion(
        model, tokenizer, histories, ranked, catalog, "tiny", n_candidates=2, seed=1
    )
    scores = handoff.load_title_scores("tiny", test.scope)
    of_case = scores[scores[CASE] == test.cases[CASE].iloc[0]].set_index(ITEM)["log_probability"]
    best = lists[lists[CASE] == test.cases[CASE].iloc[0]].set_index(ITEM)["score"]
    assert set(catalog.ids[-2:]) | set(best.index) <= set(of_case.index)
    assert of_case[best.index].to_numpy() == pytest.approx(best.to_numpy(), abs=1e-4)
    alone = constrained.score_titles(
        model, tokenizer, test.texts[:1], catalog, candidates=[catalog.ids[-2:]], label="alone"
    )
    assert of_case[catalog.ids[-2:]].to_numpy() == pytest.approx(alone[0, -2:], abs=1e-4)
