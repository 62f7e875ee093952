"""The benchmark of the language side on a tiny data set: what it counts, not how fast this machine is."""

import pytest
from conftest import write_hints
from tiny_models import tiny_mistral

from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.studies.bench import language as bench_language

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
    monkeypatch.setattr(bench_language, "REPEATS", 2)
    found = bench_language.bench_generation("ml-100k", n_prompts=4, batch_size=2, max_new_tokens=8)
    assert found["n_different"] == 0
    assert found["ratio_lowest"] <= found["ratio"] <= found["ratio_highest"]
    table = bench_language.generation_table(found)
    assert table["answering"].tolist() == ["one by one", "batched, 2 at once"]
    assert table["times as fast"].tolist() == [1.0, round(found["ratio"], 1)]
    files.write_json(found, config.REPORTS / "bench.json")
    with pytest.raises(StudyError, match=f"{len(cases)} validation cases; n_prompts is 1000: lower it"):
        bench_language.bench_generation("ml-100k", n_prompts=1000)


def test_a_beam_as_wide_as_the_catalog_overlaps_fully(cases):
    found = bench_language.bench_constrained(
        "ml-100k", n_prompts=4, n_scored=2, k=5, width=200, batch_size=2
    )
    assert [row["overlap"] for row in found["rows"]] == [1.0] * 5
    assert [row["n_prompts"] for row in found["rows"]] == [4, 4, 4, 4, 2]
    table = bench_language.constrained_table(found)
    assert table.columns.tolist() == ["prompt", "way", "prompts", "users/min", "overlap@5"]
    assert (table["users/min"] > 0).all()
    files.write_json(found, config.REPORTS / "bench.json")
