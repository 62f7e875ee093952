"""Notebook 07's tables, worked by hand on six movies and two users."""

from dataclasses import asdict

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from dualrec_utils.analysis import counterparts, deviations, plan, results, verdict
from dualrec_utils.analysis.figures import systems as plots
from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.domain import MOVIES
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import systems
from dualrec_utils.pipeline import params
from dualrec_utils.show import charts, paper

ITEMS = [1, 2, 3, 4, 5, 6]
# case -> (user, history, target); user 20 has one case more, so users and cases weigh differently.
CASES = {"10-0": (10, [1], 2), "20-0": (20, [1], 3), "20-1": (20, [1, 3], 4), "20-2": (20, [1, 3, 4], 5)}
SETTINGS = {"seed": 1, "n_bootstrap": 200, "confidence": 0.9}
# As for a run whose language model is movielm.
COMPARED = SETTINGS | {"comparisons": plan.comparisons("movielm")}


@pytest.fixture
def study(root):
    """A scratch study with a tiny processed dataset, no predictions and no further seeds."""
    folder = config.processed_dir("ml-100k")
    genres = [["Drama"], ["Comedy"], ["Drama", "War"], ["War"], ["Comedy"], ["Horror"]]
    items = {"item_id": ITEMS, "title": list("abcdef"), "year": [1990] * 6, "genres": genres}
    files.write_parquet(pd.DataFrame(items), folder / "items.parquet")
    files.write_json(asdict(MOVIES), folder / "domain.json")
    for protocol in config.PROTOCOLS:
        cases = [(case, user, "test", history) for case, (user, history, _) in CASES.items()]
        targets = [(case, 0, target) for case, (_, _, target) in CASES.items()]
        frame = pd.DataFrame(cases, columns=["case_id", "user_id", "split", "history"])
        files.write_parquet(frame, folder / f"cases_{protocol}.parquet")
        frame = pd.DataFrame(targets, columns=["case_id", "target_order", "item_id"])
        files.write_parquet(frame, folder / f"targets_{protocol}.parquet")
    return root


def write(system, lists, *, stage="baselines", protocol="next_item"):
    """Write the ranked lists of a system: case -> items."""
    rows = [
        (case, rank, item, 1.0 / rank, None, 1)
        for case, items in lists.items()
        for rank, item in enumerate(items, start=1)
    ]
    frame = pd.DataFrame(rows, columns=list(predictions.COLUMNS)).astype(predictions.COLUMNS)
    predictions.write(frame, system, Scope("ml-100k", stage, protocol, "test"))


PERFECT = {case: [target] for case, (_, _, target) in CASES.items()}
WRONG = {case: [6, target] for case, (_, _, target) in CASES.items()}
# Right for user 10, right once in three for user 20, one case without a list.
MIXED = {"10-0": [2, 6], "20-0": [6, 3, 2], "20-1": [4]}


def evaluate():
    cases = results.per_case(results.discover("ml-100k"), dataset="ml-100k")
    return cases, results.summarise(cases, **SETTINGS)


def value(table, system, metric, protocol="next_item"):
    rows = table.query("system == @system and metric == @metric and protocol == @protocol")
    assert len(rows) == 1
    return rows.iloc[0]


def test_systems_are_found_in_the_study_order_each_beside_its_seen_kept_twin(study):
    with pytest.raises(StudyError, match="dvc repro"):
        results.discover("ml-100k")
    write("zzz_new", PERFECT)
    write("lstm", PERFECT, stage="lstm")
    write("most_popular_seen_kept", PERFECT)
    write("most_popular", PERFECT)
    write("most_popular", PERFECT, protocol="window_of_five")
    table = results.discover("ml-100k")
    assert list(table.itertuples(index=False, name=None)) == [
        ("next_item", "most_popular", "baselines"),
        ("next_item", "most_popular_seen_kept", "baselines"),
        ("next_item", "lstm", "lstm"),
        ("next_item", "zzz_new", "baselines"),
        ("window_of_five", "most_popular", "baselines"),
    ]
    assert results.overview(table).iloc[:2].reset_index().to_numpy().tolist() == [
        ["most_popular", "Most popular", "baselines", "baselines"],
        ["lstm", "LSTM alone (Stage 1)", "lstm", "not run"],
    ]
    write("lstm", WRONG, stage="baselines")
    with pytest.raises(StudyError, match="'lstm' has predictions of two stages"):
        results.discover("ml-100k")


def test_values_are_means_over_users_and_a_missing_list_is_a_miss(study):
    write("markov", MIXED)
    cases, table = evaluate()
    # user 10: 1; user 20: (0 + 1 + 0) / 3.
    assert value(table, "markov", "hit_rate@1")["value"] == pytest.approx((1 + 1 / 3) / 2)
    assert value(table, "markov", "hit_rate@5")["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert value(table, "markov", "hit_rate@1")["n_cases"] == 4
    row = results.list_lengths(cases).iloc[0]
    assert (row["mean"], row["shortest"], row["longest"], row["empty"]) == (1.5, 0, 3, 0.25)
    # Systems scored on other cases are found out.
    assert results.same_cases(table).loc["next_item"].to_dict() == {"n_users": 2, "n_cases": 4}
    with pytest.raises(StudyError, match="different cases"):
        results.same_cases(table.assign(n_cases=range(len(table))))


def test_the_best_comes_first_and_equal_ones_stand_by_name(study):
    write("sknn", PERFECT)
    write("ease", WRONG)
    write("markov", MIXED)
    write("markov", PERFECT, protocol="window_of_five")
    _, table = evaluate()
    # EASE-R has the target second, which HR@5 does not mind.
    assert results.ranked(table, ["markov", "sknn", "ease", "narm"]) == ["ease", "sknn", "markov"]
    assert results.ranked(table, ["narm"]) == []
    assert plan.by_genre("movielm", rival="lstm").count("lstm") == 1


def test_tables_under_both_protocols(study):
    for protocol in config.PROTOCOLS:
        write("most_popular", MIXED, protocol=protocol)
        write("most_popular_seen_kept", PERFECT, protocol=protocol)
    cases, table = evaluate()
    both = results.by_protocol(table, metrics=["hit_rate@1"])
    assert list(both) == list(config.PROTOCOLS)
    for protocol, frame in both.items():
        alone = results.side_by_side(table, protocol=protocol, metrics=["hit_rate@1"])
        pd.testing.assert_frame_equal(frame, alone)
    lengths = results.short_lists(results.list_lengths(cases))
    assert lengths.to_dict("list") == {
        "system": ["Most popular"],
        "mean": [1.5],
        "shortest": [0],
        "longest": [3],
        "empty": [0.25],
    }
    figure_4 = counterparts.figure_4(table)
    assert list(figure_4) == list(config.PROTOCOLS)
    for frame in counterparts.hit_rates(figure_4).values():
        assert {"paper hit_rate@1", "ours hit_rate@5", "remark"} <= set(frame)
        assert not any("ndcg" in column for column in frame)
    text = counterparts.most_popular_in_words(table)
    # Users 10 and 20 have the target among five in all, and in two of three cases.
    assert "0.8333 (next_item)" in text and f"{paper.figure_4().loc[0, 'hit_rate@5']:.4f}" in text


def test_differences_by_hand(study):
    write("lstm", PERFECT, stage="lstm")
    write("most_popular", WRONG)
    cases, _ = evaluate()
    table = results.compare(cases, **COMPARED)
    # The other comparisons lack predictions and are left out.
    assert set(zip(table["system"], table["other"], strict=True)) == {("lstm", "most_popular")}
    at_1 = table.query("metric == 'hit_rate@1'").iloc[0]
    assert (at_1["difference"], at_1["low"], at_1["high"], at_1["excludes_zero"]) == (1, 1, 1, True)
    at_5 = table.query("metric == 'hit_rate@5'").iloc[0]
    assert (at_5["difference"], at_5["excludes_zero"]) == (0, False)
    back = results.compare(cases, **SETTINGS, comparisons=[("?", "most_popular", "lstm")])
    assert back.query("metric == 'hit_rate@1'")["difference"].item() == -1
    assert back.query("metric == 'hit_rate@1'")["excludes_zero"].item()


def test_figure_4_has_every_row_of_the_paper_and_none_borrows_a_number(study):
    write("most_popular", MIXED)
    write("movielm_lora_reranked", PERFECT, stage="rerank_ablation")
    _, table = evaluate()
    frame = counterparts.beside_paper(table, protocol="next_item", reasons={}).set_index("system")
    reported = paper.figure_4().set_index("system")
    assert list(frame.index[: len(reported)]) == list(reported.index)
    for metric in ("hit_rate@1", "hit_rate@5", "ndcg@1", "ndcg@5"):
        assert frame.loc[reported.index, f"paper {metric}"].tolist() == reported[metric].tolist()
    assert frame.loc["MostPop", "ours hit_rate@1"].startswith("0.667 [")
    for name in reported.index.drop("MostPop"):
        assert frame.loc[name, "ours hit_rate@1"] == "not run"
        assert frame.loc[name, "remark"].startswith("not run: ")
    row = frame.loc["ours: movielm LoRA, re-ranked (Stage 3)"]
    assert row["ours hit_rate@1"] == "1.000 [1.000, 1.000]" and np.isnan(row["paper hit_rate@1"])
    assert "tiny model" in row["remark"]
    # Nothing was written for the other protocol.
    other = counterparts.beside_paper(table, protocol="window_of_five", reasons={})
    assert set(other["ours ndcg@5"]) == {"not run"}
    # Copied baselines are named as such.
    copied = other[other["paper's values from"].str.contains("Xu et al")]
    assert set(copied["system"]) == set(paper.figure_4().query("family == 'baseline'")["system"])


def test_what_a_profile_could_not_run_says_why_and_what_it_ran_has_its_row(study, monkeypatch):
    monkeypatch.setattr(config, "METRICS", study / "reports" / "metrics")
    assert counterparts.reasons_not_run() == {}
    for stage, name in (("zero_shot_llm", "deepseek_v3"), ("lora_finetuning", "mistral_7b")):
        flat = {f"not_run/{name}": f"no {stage}", "next_item/x/hit_rate@1": 0.5}
        files.write_json(flat, config.METRICS / f"{stage}.json")
    reasons = counterparts.reasons_not_run()
    assert reasons == {"deepseek_v3": "no zero_shot_llm", "mistral_7b": "no lora_finetuning"}
    write("deepseek_qwen_1_5b_lora_reranked", PERFECT, stage="rerank_ablation")
    frame = counterparts.beside_paper(evaluate()[1], protocol="next_item", reasons=reasons).set_index(
        "system"
    )
    assert frame.loc["DUALRec – DS V3", "remark"] == "not run: no zero_shot_llm"
    assert frame.loc["DUALRec – Mistral 7B Finetuned", "remark"] == "not run: no lora_finetuning"
    assert frame.loc["DUALRec – DS Qwen Finetuned", "ours hit_rate@1"].startswith("1.000")


def test_seen_kept_stands_beside_seen_excluded(study):
    write("most_popular", WRONG)
    write("most_popular_seen_kept", PERFECT)
    write("lstm", PERFECT, stage="lstm")
    frame = results.side_by_side(evaluate()[1], protocol="next_item", metrics=["hit_rate@1"])
    assert frame.to_dict("list") == {
        "system": ["Most popular", "LSTM alone (Stage 1)"],
        "hit_rate@1": ["0.000 [0.000, 0.000]", "1.000 [1.000, 1.000]"],
        "hit_rate@1 (seen kept)": ["1.000 [1.000, 1.000]", "not run"],
    }


def test_flat_keys_hold_every_value_with_its_interval(study):
    write("lstm", PERFECT, stage="lstm")
    write("most_popular", WRONG)
    cases, table = evaluate()
    differences, lengths = results.compare(cases, **COMPARED), results.list_lengths(cases)
    before = table.copy(), differences.copy(), lengths.copy()
    flat = results.flatten(table, differences, lengths)
    assert flat["next_item/lstm/hit_rate@5"] == 1 and flat["next_item/lstm/n_cases"] == 4
    key = "next_item/difference/lstm-most_popular/hit_rate@1"
    assert (flat[key], flat[f"{key}/low"], flat[f"{key}/high"]) == (1, 1, 1)
    assert flat["next_item/most_popular/list_length"] == 2
    assert flat.pop("language_model") == "movielm"
    assert all(isinstance(number, (int, float)) for number in flat.values())
    for old, new in zip(before, (table, differences, lengths), strict=True):
        pd.testing.assert_frame_equal(old, new)


def test_a_verdict_follows_the_interval_and_one_that_touches_zero_does_not_exclude_it():
    bounds = {"higher": (0.01, 0.03), "lower": (-0.03, -0.01)}
    for word, (low, high) in [
        *bounds.items(),
        (verdict.NOT_SHOWN, (-0.01, 0.01)),
        (verdict.NOT_SHOWN, (0, 1)),
    ]:
        assert verdict.reading({"d": (low + high) / 2, "d/low": low, "d/high": high}, "d") == word


def test_every_comparison_names_known_systems():
    known = systems.expected("movielm")
    for _, system, other in plan.comparisons("movielm"):
        assert {system, other} <= set(known)
    assert set(plan.headline("movielm")) <= set(known)
    assert set(counterparts.STAND_INS) <= set(known)
    labels = [systems.label(name) for name in known]
    assert len(set(labels)) == len(known) and not set(labels) & set(known)
    assert known == systems.in_order(known)


def test_a_model_keeps_its_own_systems_together_whatever_its_name():
    # A model's name may hold a kind's words.
    assert systems.split("my_lora_lora_no_hint") == ("my_lora", "lora_no_hint")
    assert systems.split("lstm") == systems.split("dualrec_fusion") == ("", "")
    names = ["b_lora", "dualrec_fusion", "other", "a_lora_reranked", "lstm", "b_zero_shot"]
    assert systems.in_order(names) == ["lstm", "a_lora_reranked", "b_zero_shot", "b_lora", *names[1:3]]
    assert systems.main_model(names) == "a"
    assert systems.main_model(["b_zero_shot"]) == "b"
    # Only one of two fine-tuned models has the control that the comparisons need.
    fine_tuned = ["a_lora_reranked", "b_lora_reranked", "b_lora_permuted", "a_lora", "c_lora_permuted"]
    assert systems.main_model(fine_tuned) == "b"
    assert systems.label("mistral_7b_lora") == "mistral_7b LoRA"
    assert systems.label("other") == "other"


def test_every_deviation_names_a_section_and_a_parameter_that_exists():
    values = params.load(config.PACKAGE_ROOT / "params.yaml")
    frame, settings = deviations.deviations(dict(values)), values.model_dump()
    for row in frame.itertuples():
        assert row.paper and row.study and row.section, row.subject
        place = settings
        for part in filter(None, row.parameter.split(".")):
            assert part in place, f"{row.subject}: params.yaml has no {row.parameter}"
            place = place[part]
    assert frame["subject"].is_unique


def test_figures_return_the_rows_they_draw_and_leave_the_style_alone(study):
    for protocol in config.PROTOCOLS:
        write("most_popular", MIXED, protocol=protocol)
        write("most_popular_seen_kept", MIXED, protocol=protocol)
        write("lstm", PERFECT, stage="lstm", protocol=protocol)
    cases, table = evaluate()
    differences = results.compare(cases, **COMPARED)
    before = dict(mpl.rcParams)
    drawn = {
        "systems": plots.draw_systems(table, lead="ml-100k"),
        "differences": (charts.forest(differences, note="ml-100k"), differences),
        "figure_5a": plots.draw_figure_5a(table, names=["most_popular", "lstm"], lead="ml-100k"),
        "figure_5b": plots.draw_figure_5b(table, names=["most_popular", "lstm"], lead="ml-100k"),
    }
    assert dict(mpl.rcParams) == before
    sizes = {name: len(data) for name, (_, data) in drawn.items()}
    # 3 lists x 2; 1 comparison x 5 metrics x 2; 4 x 4 of the paper and 2 x 2 x 4 of ours; 2 and 3.
    assert sizes == {"systems": 6, "differences": 10, "figure_5a": 32, "figure_5b": 5}
    for figure, _ in drawn.values():
        figure.savefig(study / "figure.png")
        assert (study / "figure.png").stat().st_size > 5_000
    figure, data = drawn["figure_5a"]
    for axes in figure.axes:
        assert axes.get_xlim()[1] > data[["value", "high"]].max(axis=None), "a marker lies outside"
