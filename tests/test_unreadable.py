"""A language model without a readable answer, or whose every title is no movie: misses, and no crash."""

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.analysis import (
    breakdowns,
    chance,
    claims,
    figures as of_results,
    plan,
    results,
    sample_size,
    verdict,
)
from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.domain import MOVIES
from dualrec_utils.core.predictions import scopes
from dualrec_utils.models import handoff
from dualrec_utils.models.hybrids import figures, likeness, lists, rerank
from dualrec_utils.models.language import answers, figures as of_answers
from dualrec_utils.models.language.matching import TitleMatcher
from dualrec_utils.report import walkthrough
from dualrec_utils.show import charts, tables

DATASET, MODEL, LORA = "ml-100k", "movielm", "movielm_lora"
INTERVALS = {"seed": 1, "n_bootstrap": 20, "confidence": 0.95}
TESTS = {"n_permutations": 1000, "power": 0.8}
ORIGIN = {
    f"{MODEL}_zero_shot": "zero_shot_llm",
    LORA: "lora_finetuning",
    f"{LORA}_permuted": "lora_finetuning",
}


@pytest.fixture(params=["", "- Qwrtzpf Xklmn (1901)\n" * 3], ids=["empty", "no movie"])
def counts(request, tiny):
    """What the answers hold; every list is written, those of an LSTM and of popularity among them."""
    catalog, counted = load_catalog(DATASET), []
    matcher = TitleMatcher(catalog.items)
    for number, scope in enumerate(scopes(DATASET, "")):
        cases = predictions.load_cases(scope)
        for seed, (system, stage) in enumerate({"lstm": "lstm", "most_popular": "baselines"}.items()):
            scores = np.random.default_rng([seed, number]).random((len(cases), len(catalog)))
            for suffix in ("", predictions.SEEN_KEPT):
                made = predictions.from_scores(scores, cases, catalog.ids, seed=1, exclude_seen=not suffix)
                predictions.write(made, system + suffix, scope.replace(stage=stage))
        for system, stage in (ORIGIN | {f"{MODEL}_zero_shot_no_hint": "zero_shot_llm"}).items():
            made, held = answers.answers_to_predictions(
                [request.param] * len(cases), cases, matcher, seed=1
            )
            answers.write_both(made, cases, system, scope.replace(stage=stage))
            counted.append(held.assign(system=system, split=scope.split))
    return pd.concat(counted)


def test_every_table_and_figure_of_such_a_model_is_made(counts, figures_closed):
    held = answers.shares(counts, n_titles=3)
    assert (held[["not readable", "not in catalog"]].sum(axis=1) == 1).all()
    test, catalog = scopes(DATASET, "rerank_ablation", splits=("test",)), load_catalog(DATASET)
    of_answers.answer_shares(held, domain=catalog.domain, note="")
    assert (answers.variety(ORIGIN, test[0])["different movies"] == 0).all()

    # Notebook 06.
    written, hints = lists.read(ORIGIN, test), {scope: handoff.load_hints(scope) for scope in test}
    texts = sorted(rerank.texts_to_embed(written.values(), catalog.names))
    embeddings = pd.DataFrame(np.eye(len(texts)), index=texts)
    reranked = lists.rerank_all(written, hints, catalog, embeddings)
    controls = lists.controls(written, hints, system=LORA, seed=1)
    named = {
        (scope, predictions.rename(name, rerank.SUFFIX)): reordered
        for (scope, name), reordered in reranked.items()
    }
    predictions.write_all(named | controls)
    before, after = written[test[0], LORA], reranked[test[0], LORA]
    shown = lists.worked_example(before, after, hints[test[0]], catalog.names, seed=1, n_cases=2)
    assert shown.empty
    headline = {key: frame for key, frame in written.items() if key[1] in ORIGIN}
    assert lists.movement(headline, reranked, hints)["list names the LSTM's title"].eq(0).all()
    titles = likeness.judged_titles(written, reranked, hints, system=LORA)
    figures.hits_by_similarity(likeness.right_by_cosine(titles, **INTERVALS), note="")
    assert likeness.right_preferred(titles, **INTERVALS)["n_pairs"].eq(0).all()

    # Notebook 07.
    systems = results.discover(DATASET)
    cases = results.per_case(systems, dataset=DATASET)
    frame = cases["next_item", LORA]
    assert len(frame) == len(predictions.load_cases(test[0])) and frame["hit_rate@10"].sum() == 0
    table = results.summarise(cases, **INTERVALS)
    lengths, planned = results.list_lengths(cases), plan.comparisons(MODEL)
    differences = results.compare(cases, comparisons=planned, **INTERVALS)
    charts.forest(differences, note="")
    family = claims.family(systems["system"], order_aware="lstm", control="")
    answered = claims.table(family, cases, **INTERVALS, **TESTS)
    tables.to_markdown(results.short_lists(lengths))
    needed = sample_size.table(
        cases, [pair[1:] for pair in planned], rates=(0.2, 0.1), alpha=0.05, power=0.8
    )
    of_results.draw_power(needed, metric="hit_rate@5", alpha=0.05, power=0.8, lead="")
    of_results.draw_figure_5b(table, names=[LORA, "lstm"], lead="")
    test_cases, targets, _ = breakdowns.load_test(DATASET)
    rated, n_users = breakdowns.training_counts(DATASET)
    scored = breakdowns.frames_of(cases, plan.headline(MODEL))
    groups = breakdowns.case_groups(test_cases, targets, catalog, rated)
    breakdowns.by_group(scored, groups, metric="hit_rate@5", **INTERVALS)
    recommended = breakdowns.read_lists(systems, dataset=DATASET, names=list(scored))
    information = breakdowns.self_information(rated, n_users=n_users)
    coverage = breakdowns.coverage_and_novelty(recommended, test_cases, information, **INTERVALS)
    of_results.draw_catalog(coverage, targets=1.0, domain=MOVIES, lead="")
    assert chance.of_systems(systems, dataset=DATASET, seed=1).set_index("system").loc[LORA, "hits"] == 0
    flat = results.flatten(table, differences, lengths) | claims.flatten(answered)
    flat |= sample_size.flatten(needed, rates=(0.2, 0.1), power=0.8) | breakdowns.flatten(coverage)
    flat |= {"confidence": 0.95, "dataset": DATASET}
    assert verdict.findings(flat, audit={}) and len(verdict.headline(flat)) > 1
    verdict.users_needed(flat)
    assert walkthrough.follow(dataset=DATASET, seed=1, model=MODEL)["missing"]
    none = sample_size.table({}, [], rates=(0.2, 0.1), alpha=0.05, power=0.8)
    of_results.draw_power(none, metric="hit_rate@5", alpha=0.05, power=0.8, lead="")
    assert sample_size.medians(none).empty and verdict.users_needed({"power/higher": 0.2}) == ""
    assert evaluation.per_case(f"{LORA}_lstm_first", test[0])["list_length"].between(1, 4).all()
