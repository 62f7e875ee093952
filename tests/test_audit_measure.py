"""Tests of the audit's material, measures and ladder on the tiny data set, with random lists."""

import numpy as np
import pandas as pd
import pytest
from toy_lists import lists_of

from dualrec_utils.audit import interface, ladder, material, measure, references, rules, sampling, steps
from dualrec_utils.core import config, evaluation, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, ITEM
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import SEEN_KEPT, Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.hybrids import rerank
from dualrec_utils.pipeline import params

STATS = {"seed": 3, "n_bootstrap": 100, "confidence": 0.95}
STAGES = {
    "lstm": ["lstm"],
    "baselines": ["most_popular", "ease", "markov"],
    "zero_shot_llm": [
        "movielm_zero_shot",
        "movielm_zero_shot_constrained",
        "movielm_history_constrained",
    ],
    "lora_finetuning": ["movielm_lora", "movielm_lora_permuted", "movielm_lora_constrained"],
    "rerank_ablation": ["movielm_lora_reranked", "dualrec_fusion"],
}


def leave_lists(scope, names, cases, catalog, rng):
    """Random rankings of ten movies, movies already rated left out and kept."""
    for name in names:
        scores = rng.random((len(cases), len(catalog)))
        for suffix, left_out in (("", True), (SEEN_KEPT, False)):
            lists = predictions.from_scores(
                scores, cases, catalog.ids, seed=1, exclude_seen=left_out, length=10
            )
            predictions.write(lists, name + suffix, scope)


def leave_answers(scope, cases, catalog, rng):
    """Three titles a case; in every second answer one of them is no movie."""
    titles = list(catalog.names.values())
    texts = []
    for place in range(len(cases)):
        named = rng.choice(titles, size=3, replace=False)
        named[1] = "No Such Movie Anywhere (1901)" if place % 2 else named[1]
        texts.append("".join(f"- {title}\n" for title in named))
    made_by = {"model": "movielm", "revision": None, "parameters": {}}
    handoff.save_generations(texts, [""] * len(cases), cases, "movielm_lora", scope, **made_by)


@pytest.fixture
def data(tiny, monkeypatch):
    """What the audit works with where every stage before it has left random lists."""
    rng, catalog = np.random.default_rng(8), load_catalog("ml-100k")
    for protocol in config.PROTOCOLS:
        test = Scope("ml-100k", "audit", protocol, "test")
        cases = predictions.load_cases(test)
        for stage, names in STAGES.items():
            leave_lists(test.replace(stage=stage), names, cases, catalog, rng)
        leave_answers(test.replace(stage="lora_finetuning"), cases, catalog, rng)
        folder = config.handoff_dir("ml-100k", "lstm")
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"scores_lstm_{test.label}.npy", rng.random((len(cases), len(catalog))))
        hints = pd.DataFrame({CASE: cases[CASE], ITEM: rng.choice(catalog.ids, size=len(cases))})
        hints.to_parquet(folder / f"hints_{test.label}.parquet")
    sections = {
        "baselines": {
            "models": {
                "most_popular": {},
                "markov": {"smoothing": 1.0},
                "ease": {"query_length": 3, "l2": 10.0},
            }
        },
        "lora_finetuning": {
            "dataset": "ml-100k",
            "seed": 7,
            "n_titles": 3,
            "n_recent": 5,
            "models": {"movielm": {}},
        },
    }
    monkeypatch.setattr(params, "section", sections.get)
    return material.load("ml-100k", model="movielm", baselines=["most_popular", "markov"], seed=7)


def vectors(data, frames):
    """Stand-ins for sentence embeddings: every title a direction of its own, drawn."""
    rng = np.random.default_rng(2)
    names = rerank.texts_of(pd.concat(frames), data.catalog.names)
    texts = sorted({*names, *data.catalog.names.values()})
    drawn = rng.normal(size=(len(texts), 8))
    return pd.DataFrame(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), index=texts)


def test_material_finds_every_system_and_names_what_is_missing(data):
    assert data.stages["dualrec_fusion"] == "rerank_ablation"
    assert data.scope("lstm", "window_of_five").stage == "lstm"
    pd.testing.assert_frame_equal(
        data.per_case("movielm_lora"),
        evaluation.per_case("movielm_lora", Scope("ml-100k", "lora_finetuning", "next_item", "test")),
    )
    with pytest.raises(StudyError, match=r"'narm'.*dvc repro"):
        data.read("narm")


def test_answers_are_judged_without_movies_already_rated(data):
    cases = data.last_cases(1)
    answers, truth = data.answers("movielm_lora"), data.targets["next_item"]
    right = data.catalog.names
    alone = {case: f"- {right[truth[case][0]]}\n" for case in cases[CASE]}
    assert data.judged_answers(pd.Series(alone), cases)["hit_rate@1"].eq(1).all()
    rated = {
        case: f"- {right[history[0]]}\n- {right[truth[case][0]]}\n"
        for case, history in zip(cases[CASE], cases["history"], strict=True)
    }
    assert data.judged_answers(pd.Series(rated), cases)["hit_rate@1"].eq(1).all()
    lists = data.lists_of(answers, cases)
    assert lists.groupby(CASE).size().eq(3).all() and lists[ITEM].isna().any()


def test_any_of_five_can_only_add_hits(data):
    measured = measure.ground_truth(data)
    assert list(dict.fromkeys(key.system for key in measured)) == [
        "lstm", "movielm_lora", "movielm_lora_reranked", "most_popular", "markov", "dualrec_fusion",
    ]  # fmt: skip
    for name in ("lstm", "dualrec_fusion"):
        one, five = (
            measured[steps.Key("ground_truth", name, f"{which} of the five", "window_of_five")]
            for which in ("first", "any")
        )
        assert (five["hit_rate@5"] >= one["hit_rate@5"]).all()
        assert five["hit_rate@5"].sum() > one["hit_rate@5"].sum()


def test_candidates_sessions_and_chance(data):
    negatives = sampling.draw_negatives(data, n_negatives=3, n_draws=2)
    assert list(negatives) == [7, 8]
    measured, drawn = sampling.candidates(data, negatives)
    assert list(drawn) == ["lstm", "most_popular", "markov"]
    assert [key.setting for key in measured] == ["whole catalog"] * 3 + ["sampled_20"] * 3
    table = sampling.candidates_table(data, measured, drawn, n_negatives=3)
    assert (table["least draw"].iloc[:-1] <= table["sampled_20, hit_rate@5"].iloc[:-1]).all()
    flat = sampling.flatten_chance(table)
    assert flat["audit/candidates/chance/sampled_20/hit_rate@1"] == 1 / 4
    unseen = len(data.catalog) - data.cases["next_item"]["history"].map(len)
    assert flat["audit/candidates/chance/whole_catalog/hit_rate@5"] == pytest.approx((5 / unseen).mean())
    few = sampling.sessions(data, negatives, n_sessions=4)
    assert [(key.step, key.setting) for key in few][:3] == [
        ("training_sessions", "all users"),
        ("training_sessions", "4 sessions"),
        ("candidates", "sampled_20, 4 sessions"),
    ]
    track = sampling.copied_track(few).set_index("system")
    by_user = few[steps.Key("candidates", "markov", "sampled_20, 4 sessions", "next_item")]
    expected = by_user.groupby("user_id")["hit_rate@5"].mean().mean()
    assert track.loc["Markov chain", "HR@5 here"] == expected
    # Figure 4 of the paper has a row for popularity, and none for a Markov chain.
    assert track["HR@5 in the paper"].notna().to_dict() == {"Most popular": True, "Markov chain": False}


def test_without_times_there_are_no_days(data):
    untimed = data.interactions.drop(columns="timestamp")
    bare = material.Material(**vars(data) | {"interactions": untimed})
    assert sampling.sessions(bare, {7: None}, n_sessions=4) == {}
    with_times = measure.not_run(data, untrained=["lora_loss"])["step"].tolist()
    assert with_times == ["candidates: movielm", "lora_loss", "lstm_targets"]
    some = data.interactions.head(4).astype({"timestamp": "Int64"})
    for n_untimed, timed in ((1, True), (2, False)):
        lacking = some.assign(timestamp=some["timestamp"].mask(np.arange(4) < n_untimed))
        assert material.Material(**vars(data) | {"interactions": lacking}).timed == timed
    without = measure.not_run(bare, untrained=["lora_loss"])["step"].tolist()
    assert without == ["candidates: movielm", "training_sessions", "lora_loss", "lstm_targets"]


def test_the_leak_moves_order_alone_and_every_hit_to_the_head_unless_the_hint_is_there(data):
    written = rules.short_lists(data)
    assert list(written) == [
        (name, protocol)
        for protocol in config.PROTOCOLS
        for name in ("movielm_lora", "lstm", "most_popular", "ease", "movielm_lora_permuted")
    ]
    embeddings = vectors(data, written.values())
    measured = references.reference(data, written, embeddings)
    key = steps.Key("reference", "ease", references.LEAKING, "window_of_five")
    leaking, honest = measured[key], measured[key._replace(setting=references.HONEST)]
    assert leaking["hit_rate@5"].tolist() == honest["hit_rate@5"].tolist()
    assert leaking["hit_rate@1"].sum() > honest["hit_rate@1"].sum()
    shares = references.shares_first(measured, ["ease"], **STATS)
    assert shares["reference"].tolist() == [references.HONEST, references.LEAKING]
    text = references.leak_in_words(shares, "ease")
    assert f"{shares['value'][1]:.0%} have" in text and f"{shares['value'][0]:.0%} if" in text


def test_the_leak_s_table_has_the_lstm_s_own_list_beside_it(data):
    written = rules.short_lists(data)
    measured = references.reference(data, written, vectors(data, written.values()))
    table = references.leak(data, measured, ["movielm_lora", "ease"], **STATS)
    assert len(table) == 2 * (2 * 2 + 2)
    values = table.set_index(["protocol", "system", "list"])["value"]
    for protocol in config.PROTOCOLS:
        assert values[protocol, "ease", "with"] >= values[protocol, "ease", "without"]
        whole = data.read("lstm" + SEEN_KEPT, protocol)
        assert values[protocol, "lstm", "plain"] == data.judged(whole, protocol)["hit_rate@1"].mean()
    assert values["window_of_five", "ease", "with"] > values["window_of_five", "ease", "without"]
    flat = references.flatten_leak(table, "movielm_lora")
    assert {key.removesuffix("/low").removesuffix("/high") for key in flat} == {
        f"audit/leak/{kind}/hit_rate@1" for kind in ("with", "without", "lstm", "lstm_rated_left_out")
    }
    assert flat["audit/leak/with/hit_rate@1"] == values["window_of_five", "movielm_lora", "with"]


def test_genres_of_the_best_of_five_beside_the_next_movie(data):
    table = measure.genres(data, **STATS).set_index(["system", "counted"])
    lists, cases = data.read("movielm_lora", "window_of_five"), data.cases["window_of_five"]
    strict = data.judged(lists, "window_of_five")["genre_jaccard"]
    assert table.loc[("movielm_lora", "next movie"), "value"] == pytest.approx(strict.mean())
    best, matched = (
        table.loc[("movielm_lora", name)] for name in ("best of five", "best of five, matched only")
    )
    assert best["value"] > strict.mean() and best["n_cases"] == len(cases)
    assert matched["value"] >= best["value"]
    flat = measure.flatten_genres(table.reset_index())
    key = "audit/genres/movielm_lora/best_of_five_matched_only/genre_jaccard"
    assert flat[key] == matched["value"] and flat[f"{key}/low"] <= flat[key]


def test_first_titles_that_are_no_movie_count_nothing_or_are_left_out(data, monkeypatch):
    """One of two first titles is no movie, the other is right."""
    cases = data.cases["window_of_five"].head(2)
    right = data.targets["window_of_five"][cases[CASE].iloc[0]][0]
    lists = lists_of({cases[CASE].iloc[0]: [right], cases[CASE].iloc[1]: ["No Such Movie"]})
    two = material.Material(**vars(data) | {"cases": dict(data.cases) | {"window_of_five": cases}})
    monkeypatch.setattr(material.Material, "read", lambda *place: lists)
    table = measure.genres(two, **STATS)
    values = table[table["system"] == "movielm_lora"].set_index("counted")["value"].to_dict()
    assert values == {"next movie": 0.5, "best of five": 0.5, "best of five, matched only": 1.0}


def test_compaction_alone_moves_titles_up(data):
    written = rules.short_lists(data)["movielm_lora", "next_item"]
    kept, compacted = measure.compaction(data, written).values()
    # Every second answer has a title that is no movie; no case is left out.
    assert len(kept) == len(compacted) == len(data.cases["next_item"])
    assert (compacted["first_hit"] <= kept["first_hit"]).all()


def test_hit_rules_lengths_and_seen_movies_have_the_study_s_setting_first(data):
    written = rules.short_lists(data)
    hit_rule, alike = measure.hit_rule(data, written, thresholds=[0.5, 0.9])
    assert [key.setting for key in hit_rule][:3] == ["same movie", "alike at 0.5", "alike at 0.9"]
    assert {"title", "target", "ratio", "n", "system", "protocol"} == set(alike)
    lengths = measure.list_length(data)
    assert [key.setting for key in lengths] == ["10 titles", "3 titles"] * 2
    seen = measure.seen(data)
    for name in ("lstm", "most_popular", "dualrec_fusion"):
        left_out, kept = (
            seen[steps.Key("seen", name, setting, "next_item")] for setting in ("left out", "kept")
        )
        # The same scores: a movie already rated takes a place and is never right.
        assert (left_out["hit_rate@5"] >= kept["hit_rate@5"]).all()


def test_the_ladder_has_both_systems_on_every_rung(data):
    written = rules.short_lists(data)
    three = written["movielm_lora", "window_of_five"]
    embeddings = vectors(data, written.values())
    rungs = ladder.climb(data, written, three, embeddings, **STATS)
    names = [name for name, _ in ladder.RUNGS]
    assert rungs["rung"].unique().tolist() == names
    strict = rungs[rungs["rung"] == names[-1]].set_index(["system", "metric"])["value"]
    alone = data.judged(rules.cut(data.read("lstm"), 3))
    assert strict["lstm", "hit_rate@5"] == alone.groupby("user_id")["hit_rate@5"].mean().mean()
    similarity = rerank.similarities
    unseen = predictions.drop_seen(written["movielm_lora", "next_item"], data.cases["next_item"])
    ordered = rerank.by_similarity(
        unseen, similarity(unseen, data.hints["next_item"], data.catalog, embeddings)
    )
    expected = data.judged(ordered).groupby("user_id")["hit_rate@1"].mean().mean()
    assert strict["movielm_lora_reranked", "hit_rate@1"] == expected


ASKED = {"n_recent": 5, "n_history": 8, "n_titles": 3, "n_ranked": 10}


def test_each_way_to_ask_changes_one_thing_of_the_one_before(monkeypatch):
    monkeypatch.setattr(interface.params, "section", {"zero_shot_llm": ASKED}.get)
    rows = interface.settings([3, 6, 8])
    assert list(rows) == [
        "paper_prompt_seen_kept", "paper_prompt", "paper_prompt_catalog_3_titles", "paper_prompt_catalog",
        "bare_history_catalog_6_movies", "bare_history_catalog", "bare_history_catalog_3_movies",
        "bare_history_catalog_3_titles", "bare_history_catalog_seen_kept",
    ]  # fmt: skip
    best = rows["bare_history_catalog"]
    assert best == (interface.BARE, 8, 10, interface.LEFT_OUT)
    assert "the history alone" in best.words and "8 movies; 10 titles" in best.words
    for other in list(rows.values())[-3:]:
        assert sum(one != two for one, two in zip(other, best, strict=True)) == 1


def test_the_interface_is_measured_on_the_same_cases_beside_the_lstm(data, monkeypatch):
    monkeypatch.setattr(interface.params, "section", {"zero_shot_llm": ASKED}.get)
    monkeypatch.setattr(interface, "asked_anew", lambda data, cases, rows: {})
    read = []

    def constant(cases, *, dataset, max_history):
        read.append(max_history)
        return np.arange(len(cases) * len(data.catalog)).reshape(len(cases), -1)

    monkeypatch.setattr(interface.protocols, "lstm_scores", constant)
    table = interface.measure(data, histories=[], n_cases=1, **STATS)
    assert read == [5, 8] and table["n_cases"].unique() == [len(data.last_cases(1))]
    rows = table[table["metric"] == "hit_rate@5"].set_index(["row", "series"])["value"]
    lists = data.read("movielm_history_constrained")
    one = evaluation.score_lists(lists, data.last_cases(1), data.targets["next_item"], data.catalog)
    assert rows["bare_history_catalog", "model"] == one["hit_rate@5"].mean()
    assert rows["bare_history_catalog_3_titles", "model"] == (one["first_hit"] <= 3).mean()
    for name in ("paper_prompt", "bare_history_catalog"):
        over = rows[name, "model"] - rows[name, "lstm"]
        assert rows[name, "over_lstm"] == pytest.approx(over)
    flat = interface.flatten(table)
    for name in ("paper_prompt", "paper_prompt_catalog", "bare_history_catalog", "lstm_same_input"):
        assert flat[f"audit/interface/{name}/hit_rate@5/low"] <= flat[f"audit/interface/{name}/hit_rate@5"]
    same = flat["audit/interface/lstm_same_input/hit_rate@5"]
    assert same == flat["audit/interface/bare_history_catalog/lstm/hit_rate@5"]
    assert interface.shown(table, metric="hit_rate@5").shape == (7, 3)
    assert "LSTM that reads the same 8 movies" in interface.sentence(table, model="movielm")
