"""The benchmark of the language side on a tiny data set: what it counts, not how fast this machine is."""

import pytest
from conftest import write_hints
from tiny_models import tiny_mistral

from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.report import costs
from dualrec_utils.studies.bench import language as bench_language, pretrained as bench_pretrained

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def cases(tiny):
    """Validation cases of a tiny study with a model and hints."""
    tiny_mistral(config.stage_dir("ml-100k", "movielm"), chat=False)
    scope = Scope("ml-100k", "bench", "next_item", "validation")
    cases = predictions.load_cases(scope)
    write_hints(dict.fromkeys(cases["case_id"], load_catalog("ml-100k").ids[0]), scope)
    return cases


def test_both_ways_answer_the_same_prompts(cases, monkeypatch):
    shape = {"n_prompts": 4, "batch_size": 2, "max_new_tokens": 8}
    comparison = bench_language.bench_generation("ml-100k", **shape, repeats=2)
    assert comparison["n_different"] == 0
    assert comparison["ratio_lowest"] <= comparison["ratio"] <= comparison["ratio_highest"]
    table = bench_language.generation_table(comparison)
    assert table["answering"].tolist() == ["one by one", "batched, 2 at once"]
    assert table["times as fast"].tolist() == [1.0, round(comparison["ratio"], 1)]
    files.write_json(comparison, config.REPORTS / "bench.json")
    with pytest.raises(StudyError, match=f"{len(cases)} validation cases; n_prompts is 1000: lower it"):
        bench_language.bench_generation("ml-100k", n_prompts=1000)


def test_a_beam_as_wide_as_the_catalog_overlaps_fully(cases):
    comparison = bench_language.bench_constrained(
        "ml-100k", n_prompts=4, n_exact=3, n_scored=2, k=5, width=200, batch_size=2
    )
    assert [row["overlap"] for row in comparison["rows"]] == [1.0] * 5
    assert [row["n_prompts"] for row in comparison["rows"]] == [4, 3, 4, 3, 2]
    table = bench_language.constrained_table(comparison)
    assert table.columns.tolist() == ["prompt", "way", "prompts", "users/min", "overlap@5"]
    assert (table["users/min"] > 0).all()
    files.write_json(comparison, config.REPORTS / "bench.json")


def test_along_the_tree_the_bench_finds_the_scores_of_plain_reading(cases, tmp_path):
    folder = str(tiny_mistral(tmp_path / "small", chat=True))
    shape = {"n_history": 5, "k": 5, "width": 200, "n_recent": 5}
    off = bench_pretrained.compared(folder, dataset="ml-100k", **shape)
    assert 0 <= off["off_float32"] < 1e-3 and off["off_float32"] < off["off_between"]
    assert 0 < off["overlap"] <= 1 and off["n_prompts"] == bench_pretrained.N_COMPARED


def test_a_score_that_is_wrong_is_seen(cases, tmp_path, monkeypatch):
    """The fault planted: one best title's score is too high by a nat."""
    folder = str(tiny_mistral(tmp_path / "small", chat=True))
    right = bench_pretrained.constrained.rank_titles

    def wrong(*args, **kwargs):
        scores = right(*args, **kwargs)
        scores[0, scores[0].argmax()] += 1
        return scores

    monkeypatch.setattr(bench_pretrained.constrained, "rank_titles", wrong)
    shape = {"n_history": 5, "k": 5, "width": 200, "n_recent": 5}
    assert bench_pretrained.compared(folder, dataset="ml-100k", **shape)["off_float32"] > 0.99


def test_the_share_is_that_of_the_operations_of_lora(lora_section, monkeypatch):
    monkeypatch.setattr(bench_pretrained, "N_WARM_UP", 2)
    monkeypatch.setattr(bench_pretrained, "_product", lambda: 4e9)
    name = lora_section["models"]["small"]["model"]
    speed = bench_pretrained.taught(name, dataset="ml-100k", tuning=lora_section)
    assert speed["share"] == pytest.approx(speed["n_weights"] * speed["tokens_per_second"] / 1e9)
    assert speed["tokens_per_second"] > 0


def test_every_speed_has_a_column_on_the_page(root):
    measured = {
        "model": "qwen",
        "lora": {"tokens_per_second": 5.0, "share": 0.5},
        "answers": {"prompts_per_second": {"one by one": 1.0, "batched": 3.0}, "ratio": 3.0},
        "rankings": {
            "rows": [
                {"prompt": "history only", "way": way, "users_per_minute": 7.0, "overlap": 0.25}
                for way in ("beam", "exact search")
            ]
        },
        "scores": {"overlap": 0.75},
    }
    row = bench_pretrained.in_short(measured)
    assert set(row) == {"model", "overlap of the beam", *costs.PRETRAINED}
    assert row["answers a minute, batched"] == 180.0 and row["overlap with float32"] == 0.75
    files.write_json({"in_short": [row]}, config.study_dir("bench") / "pretrained.json")
    page = costs.costs_page(())
    assert "| Qwen2.5-Coder 0.5B | 60.00 | 180.00 | 3.00 |" in page
    # The heading stands where movielm was not measured, too.
    assert page.index("## Language models") < page.index("Qwen2.5-Coder 0.5B")


def test_of_a_model_that_is_only_tuned_nothing_else_is_measured(lora_section, monkeypatch):
    name = lora_section["models"]["small"]["model"]
    monkeypatch.setattr(bench_pretrained, "N_WARM_UP", 2)
    monkeypatch.setattr(bench_pretrained, "ONLY_TUNED", (name,))
    # The tiny model is none of those that are fetched.
    monkeypatch.setattr(bench_pretrained.pretrained, "written_out", lambda name: None)
    measured = bench_pretrained.bench_pretrained(name, dataset="ml-100k", zero_shot={}, tuning=lora_section)
    row = bench_pretrained.in_short(measured)
    assert set(row) == {"model", "LoRA tokens a second", "share of the processor's product"}
    assert row["LoRA tokens a second"] == measured["lora"]["tokens_per_second"]
