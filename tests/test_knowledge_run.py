"""The models of the study of knowledge, and all of it on toy data with a tiny pretrained model."""

import ast
import dataclasses
import json
import re

import IPython.display
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import tiny_mistral, tiny_qwen2
from toy_catalog import catalog_of

from dualrec_utils.analysis import breakdowns
from dualrec_utils.core import config, evaluation, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, USER, YEAR
from dualrec_utils.core.domain import load_domain, write_domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models.finetuning import examples
from dualrec_utils.models.language import constrained, loading
from dualrec_utils.pipeline import colab, params, stages
from dualrec_utils.pipeline.schemas import LanguageModel
from dualrec_utils.studies.knowledge import (
    material,
    plan,
    run as study,
    settings as study_settings,
    tables,
    tuning,
    words,
)
from dualrec_utils.studies.knowledge.plan import Job
from dualrec_utils.studies.knowledge.text_alone import TextAlone

pytestmark = pytest.mark.usefixtures("one_thread")

DATASET = "ml-100k"
CATALOG = catalog_of(range(1, 9))


def test_every_item_but_a_users_first_is_an_answer_once():
    histories = {1: np.arange(1, 8), 2: np.array([3]), 3: np.array([8, 2])}
    taught = tuning.lessons(histories, CATALOG, n_history=2, n_learned=6)
    # The last six of user 1 are 2 to 7; the first of them is shown, never asked.
    assert taught[USER].tolist() == [1, 1, 1, 3]
    assert [list(shown) for shown in taught[HISTORY]] == [[2], [3, 4], [5, 6], [8]]
    assert taught[examples.ANSWER].tolist() == [
        "- Film 3\n- Film 4\n", "- Film 5\n- Film 6\n", "- Film 7\n", "- Film 2\n",
    ]  # fmt: skip
    assert taught[examples.PROMPT].iloc[1].endswith(":\n- Film 3\n- Film 4\n")


def test_random_weights_are_of_the_same_shapes_and_come_from_the_seed(tmp_path):
    model, _ = loading.load_model(tiny_qwen2(tmp_path / "qwen"), dtype="bfloat16")
    one, again, other = (tuning.with_random_weights(model, seed=seed) for seed in (1, 1, 2))
    before, weights = dict(model.named_parameters()), dict(one.named_parameters())
    assert {n: (w.shape, w.dtype) for n, w in weights.items()} == {
        n: (w.shape, w.dtype) for n, w in before.items()
    }
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(weights[name], before[name])
    assert torch.equal(weights[name], dict(again.named_parameters())[name])
    assert not torch.equal(weights[name], dict(other.named_parameters())[name])
    assert not one.training


@pytest.mark.parametrize("random_weights", [False, True])
def test_the_head_of_an_opened_model_reads_no_positions_with_gaps(tmp_path, random_weights):
    entry = LanguageModel(
        backend="local", model=str(tiny_qwen2(tmp_path / "qwen")), revision=None,
        dtype="bfloat16", quantization="none",
    )  # fmt: skip
    model, _ = tuning.opened(Job("m", 0.0, random_weights=random_weights), entry, dataset="ml-100k")
    seen = []
    model.get_output_embeddings().register_forward_pre_hook(lambda head, given: seen.append(given[0]))
    logits = model(input_ids=torch.ones(3, 5, dtype=torch.long), logits_to_keep=2).logits
    assert logits.shape[:2] == (3, 2) and [hidden.is_contiguous() for hidden in seen] == [True]


def test_an_item_that_nobody_rated_is_ranked_by_its_text():
    # Items 1 and 5 have the same text, and nobody rated 5; 6 has another.
    titles = ["Film A", "Film B", "Film C", "Film D", "Film A", "Film E"]
    catalog = catalog_of(range(1, 7), titles=titles)
    shape = {"embedding_size": 8, "n_layers": 1, "n_heads": 1, "n_experts": 2, "temperature": 0.3}
    learn = {"max_length": 5, "dropout": 0.0, "learning_rate": 0.01, "weight_decay": 0.0}
    learn |= {"batch_size": 8, "max_epochs": 3, "patience": 3}
    model = TextAlone(catalog.ids, seed=0, catalog=catalog, **shape, **learn)
    histories = [np.array(history) for history in ([1, 2, 3, 4], [2, 1, 4], [3, 1, 2], [4, 1])]
    model.fit(histories)
    scores = model.score([np.array([2]), np.array([3, 4])])
    assert np.allclose(scores[:, 0], scores[:, 4], atol=1e-6)
    assert not np.allclose(scores[:, 0], scores[:, 5])


def test_what_is_ranked_is_not_ranked_again(tmp_path, monkeypatch):
    model, tokenizer = loading.load_model(tiny_mistral(tmp_path / "mistral", chat=True))
    cases = pd.DataFrame({CASE: list("abcde"), HISTORY: [np.array([item]) for item in range(1, 6)]})
    posed, _ = material.questions(cases, pd.Series(dtype=object), CATALOG)
    about = {"n_history": 3, "seed": 1, "label": "test"}
    whole = tuning.ranked(model, tokenizer, posed, CATALOG, **about)
    assert not any(
        item in dict(zip(posed[CASE], posed[HISTORY], strict=True))[case]
        for case, item in zip(whole[CASE], whole[ITEM], strict=True)
    )
    tuning.ranked(model, tokenizer, posed, CATALOG, folder=tmp_path / "parts", **about)

    def refuse(*_, **__):
        raise AssertionError("searched again")

    monkeypatch.setattr(constrained.TitleTree, "search", refuse)
    again = tuning.ranked(model, tokenizer, posed, CATALOG, folder=tmp_path / "parts", **about)
    pd.testing.assert_frame_equal(again, whole)


SETTINGS = {
    "shares": [0.25, 1.0], "n_draws": 2, "cpu_share": 0.25, "n_users": 4, "n_cases": 2, "n_learned": 9,
    "n_epochs": 1, "batch_size": 4, "learning_rate": 0.01, "n_cold": 6, "least_ratings": 2, "cold_cases": 2,
    "n_probes": 10,
}  # fmt: skip
SHORTER = {
    r"\n  epochs: 10 ": "\n  epochs: 1 ",
    r"n_epochs: 5 ": "n_epochs: 1 ",
    r"hidden_size: 128 ": "hidden_size: 32 ",
    r"max_epochs: 60": "max_epochs: 2",
}


@pytest.fixture
def toy(tiny, tmp_path, monkeypatch):
    """A run whose LSTM has left lists, and the study's settings with a tiny pretrained model."""
    text = (config.PACKAGE_ROOT / "params.yaml").read_text(encoding="utf-8")
    for old, new in SHORTER.items():
        text, n = re.subn(old, new, text)
        assert n, old
    files.write_text(text, config.ROOT / "params.yaml")
    monkeypatch.setattr(config, "PARAMS_FILE", config.ROOT / "params.yaml")
    scope = Scope(DATASET, "lstm", "next_item", "test")
    cases, ids = predictions.load_cases(scope), load_catalog(DATASET).ids
    scores = np.random.default_rng(0).random((len(cases), len(ids)))
    predictions.write(predictions.from_scores(scores, cases, ids, seed=0), "lstm", scope)
    # Another seed than the one that draws random weights.
    base = tiny_mistral(tmp_path / "base", chat=True, n_layers=1, seed=5)
    write_settings("small", base, tmp_path, monkeypatch)
    return tmp_path


def write_settings(name, model, folder, monkeypatch, *, dtype="float32", other=None):
    """The study's settings with one pretrained model, and another one, or the same, that is only asked."""
    entry = {"backend": "local", "model": str(model), "revision": None, "dtype": dtype}
    entry |= {"quantization": "none"}
    path = folder / "settings.yaml"
    only_asked = {"other": entry | {"model": str(other or model)}}
    values = {"models": {name: entry}, "only_asked": only_asked, **SETTINGS}
    path.write_text(json.dumps({"default": values}), encoding="utf-8")
    monkeypatch.setattr(study_settings, "PARAMS", path)


def cells(part, metric="ndcg@10"):
    table = tables.read(DATASET, tables.NAMES[part])
    return table[table["metric"] == metric]


def test_little_data_runs_resumes_and_says_what_was_not_run(toy, monkeypatch, capsys):
    monkeypatch.setattr(plan, "LITTLE", ("ease", "movielm"))
    whole = study.Study()
    # A stop after the second job: its table says what is there.
    real, n = study.Study.measure, []

    def measure(self, job):
        n.append(job)
        if len(n) == 3:
            raise KeyboardInterrupt
        real(self, job)

    with monkeypatch.context() as patched:
        patched.setattr(study.Study, "measure", measure)
        with pytest.raises(KeyboardInterrupt):
            whole.run("a")
    assert cells("a")["remark"].value_counts()[tables.NOT_YET] >= 3
    study.run_all(["a"])
    out = capsys.readouterr().out
    # Two models of two shares and two draws each; of the tiny ones two not tuned, and one on a quarter of
    # the users.
    assert len(set(re.findall(r"knowledge: a: (\S+)", out))) == 2 * 4 + 2 + 2
    assert {name for name in re.findall(r"knowledge: a: (\S+)", out) if "other" in name} == {"other-0-0"}
    result = cells("a").set_index(["system", "share"])
    assert result.loc[("small", 1.0), "remark"].startswith("not run: needs a GPU")
    measured = result.drop(("small", 1.0))
    assert measured["value"].between(0, 1).all() and (measured["remark"] == "").all()
    assert measured.loc[("small", 0.0), "n_seeds"] == 1 and measured.loc[("ease", 0.25), "n_seeds"] == 2
    assert (measured["n_users"] == 4).all() and (measured["n_cases"] <= 8).all()
    gains = tables.read(DATASET, "little_data_differences")
    assert set(gains["system"]) == {"small"} and set(gains["share"]) == {0.25}
    study.run_all(["a"])
    assert "knowledge: a:" not in capsys.readouterr().out
    # A table that cannot be made again is not replaced.
    result = tables.read(DATASET, "little_data")
    tables.write(result.fillna({"value": 0.5}), "little_data", DATASET)
    with pytest.raises(StudyError, match=r"has numbers of small 1\.0, which would be lost"):
        study.run_all(["a"])


def test_lists_lie_elsewhere_once_the_words_of_prompts_or_the_weights_have_changed(toy):
    jobs = [Job("small", 0.0), Job("small", 0.25, cold=True), Job("movielm")]
    before = [study.Study().path(job) for job in jobs]
    assert [study.Study().path(job) for job in jobs] == before
    write_domain(dataclasses.replace(load_domain(DATASET), history="list of films"), DATASET)
    renamed = [study.Study().path(job) for job in jobs]
    assert not set(renamed) & set(before)
    # Another model in the same folder.
    tiny_mistral(toy / "base", chat=True, n_layers=1, seed=6)
    *small, movielm = (study.Study().path(job) for job in jobs)
    assert not set(small) & set(renamed) and movielm == renamed[-1]


@pytest.mark.parametrize("end", [b"", b"\xff" * 60 + b"\x28\x00\x00\x00PAR1"])
def test_a_damaged_piece_is_named_with_what_to_do(toy, end):
    whole, job = study.Study(), Job("most_popular")
    whole.measure(job)
    path = whole.path(job)
    path.write_bytes(path.read_bytes()[:-80] + end)
    with pytest.raises(StudyError, match=r"most_popular-1-0\.parquet cannot be read .*: delete it and run"):
        whole.values([job])


def test_cold_items_are_asked_of_models_that_have_not_learnt_from_them(toy):
    whole = study.Study()
    whole.run("b")
    drawn = tables.read(DATASET, tables.DRAWN)
    assert len(drawn) == 6 and (drawn["n_test_ratings"] >= 2).all()
    posed, targets = whole.questions(cold=True)
    result = cells("b").set_index(["system", "share", "among"])
    assert set(result.index.get_level_values("among")) == {material.CATALOG, material.COLD}
    assert result["value"].notna().all() and len(result) == 2 * (4 + 2)
    assert (result["n_cases"] == len(posed) / 2).all()
    cold, seen = set(drawn[ITEM]), dict(zip(posed[CASE], posed[HISTORY], strict=True))
    assert {target for case in posed[CASE] for target in targets[case]} <= cold
    for job in (Job("lstm", cold=True), Job("small", 0.25, cold=True), Job("small", 0.0, cold=True)):
        lists = pd.read_parquet(whole.path(job))
        assert not any(item in seen[case] for case, item in zip(lists[CASE], lists[ITEM], strict=True))
        among = lists[lists[CASE].str.endswith("_cold")]
        assert set(among[ITEM]) <= cold and not set(lists[ITEM]) <= cold
    groups = tables.read(DATASET, tables.BY_RATINGS)
    n_cases = len(predictions.load_cases(Scope(DATASET, "lstm", "next_item", "test")))
    assert set(groups["system"]) == {"lstm"} and groups["n_cases"].sum() == n_cases
    counts, _ = breakdowns.training_counts(DATASET)
    assert groups["group"].iloc[0].startswith(f"{_rated(counts).min()} to ")


def _rated(counts):
    cases = predictions.load_cases(Scope(DATASET, "lstm", "next_item", "test"))
    return cases[CASE].map(evaluation.load_targets(DATASET, "next_item")).str[0].map(counts)


def test_form_and_the_notebook_on_all_parts(toy, monkeypatch, capsys, figures_closed):
    monkeypatch.setattr(plan, "LITTLE", ("gru4rec",))
    monkeypatch.setattr(plan, "UNSEEN", ("random", "movielm"))
    run_notebook(monkeypatch)
    assert capsys.readouterr().out.count(words.NOT_MEASURED) >= 3
    monkeypatch.setattr(study.spoken, "ALL_FILMS", "none")
    for part in "abcde":
        study.run_all([part])
    result = cells("c").set_index(["system", "share", "weights", "titles"])["value"]
    assert result.notna().all() and len(result) == 8
    assert (
        result["small", 0.0, "pretrained", "real titles"]
        == cells("a").set_index(["system", "share"]).loc[("small", 0.0), "value"]
    )
    gains = tables.read(DATASET, "form_differences")
    gains = gains[gains["metric"] == "ndcg@10"].set_index(["system", "share", "minus"])["value"]
    pretrained, other = (
        result["small", 0.25, "pretrained", titles] for titles in (plan.REAL, plan.MEANINGLESS)
    )
    assert gains["small", 0.25, plan.MEANINGLESS] == pytest.approx(pretrained - other)
    run_notebook(monkeypatch)
    out = capsys.readouterr().out
    # Four users are too few to say what knowledge is worth.
    assert out.count(words.NOT_MEASURED) == 1 and "no difference shown" in out
    flat = files.read_json(config.study_dir("knowledge") / DATASET / "metrics.json")
    key = "knowledge/form/small/0.0/pretrained/real_titles/ndcg@10"
    assert flat[key] == pytest.approx(result["small", 0.0, "pretrained", "real titles"])
    pictures = {path.stem for path in (config.study_dir("knowledge") / DATASET).glob("*.png")}
    assert pictures == {"little_data", "cold", "by_ratings", "form"}


def test_exact_search_takes_the_adapter_of_the_beam(toy, monkeypatch):
    whole = study.Study()
    whole.run("e")
    adapters = study_settings.pieces_dir(DATASET) / "adapters"
    assert [path.name for path in adapters.iterdir()] == ["small-0.25-0"]
    result = cells("e").set_index(["system", "share", "search"])["value"]
    assert result.notna().all() and len(result) == 4
    shared = tables.read(DATASET, tables.OVERLAP).set_index("share")
    assert shared["overlap"].between(0, 1).all() and list(shared.index) == [0.0, 0.25]


def test_a_part_without_models_says_so_and_writes_nothing(toy, monkeypatch, capsys):
    whole = study.Study()
    whole.settings = whole.settings.model_copy(update={"models": {}})
    whole.run("e")
    assert "no model for it" in capsys.readouterr().out
    assert tables.read(DATASET, tables.NAMES["e"]).empty


def run_notebook(monkeypatch):
    """Every code cell, what it shows printed."""

    def show(shown):
        print(getattr(shown, "data", shown))

    monkeypatch.setenv("DUALREC_STAGE", "knowledge")
    monkeypatch.setattr(IPython.display, "display", show)
    names = {}
    for cell in nbformat.read(config.NOTEBOOKS / study_settings.NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            *lines, last = ast.parse(cell.source).body
            shows = isinstance(last, ast.Expr)
            exec(compile(ast.Module(lines if shows else [*lines, last], []), "10", "exec"), names)
            if shows:
                show(eval(compile(ast.Expression(last.value), "10", "eval"), names))


def test_a_model_that_cannot_be_had_is_a_row_that_says_so(toy, monkeypatch, capsys):
    write_settings("gone", toy / "nothing", toy, monkeypatch)
    study.run_all(["c"])
    assert capsys.readouterr().out.count("gone is not run") == 1
    result = cells("c").set_index("system")
    assert result.loc["gone", "remark"].str.contains("not run: .*holds no language model").all()
    assert result.loc["movielm", "value"].notna().all()


def test_dtype_auto_is_what_this_machine_computes_in(toy, monkeypatch, capsys):
    path = study.Study().path(Job("small", 0.0))
    write_settings("small", toy / "base", toy, monkeypatch, dtype="auto")
    text = config.PARAMS_FILE.read_text(encoding="utf-8")
    text, n = re.subn(r"(\n    movielm:\n(?: {6}.*\n)*? {6}dtype: )float32", r"\1auto", text, count=1)
    assert n
    files.write_text(text, config.PARAMS_FILE)
    whole = study.Study()
    here = colab.dtype_here()
    entry = whole.settings.pretrained["small"]
    model, _ = tuning.opened(Job("small", 0.0), entry, dataset=DATASET)
    assert model.dtype == getattr(torch, here)
    # What is kept was made in that type, by whatever name it was asked for.
    assert (whole.path(Job("small", 0.0)) == path) == (here == "float32")
    whole.settings = whole.settings.model_copy(update={"models": {}, "only_asked": {}})
    monkeypatch.setattr(study.spoken, "ALL_FILMS", "none")
    whole.say()
    # The run has left no movielm: its folder is looked for once its type is known.
    assert "movielm holds no language model" in capsys.readouterr().out


def test_what_models_say_is_sorted_resumed_and_shown(toy, monkeypatch, capsys):
    # MovieLens latest small is out of reach: the raw data's own films stand in.
    monkeypatch.setattr(study.spoken, "ALL_FILMS", "none")
    whole = study.Study()
    whole.run("a")
    whole.say()
    said = tables.read(DATASET, tables.SPOKEN)
    assert set(said["system"]) == {"small", "other"} and set(said["metric"]) == set(study.spoken.KINDS)
    assert said["value"].between(0, 1).all() and (said["n_users"] == 4).all()
    records = tables.read(DATASET, tables.RECORDS)
    assert set(records["ids"]) == {"as published", "permuted"} and (records["n"] <= 10).all()
    shown = tables.read(DATASET, tables.SHOWN)
    assert len(shown) == 4 and shown["small"].str.startswith("-").all()

    def refuse(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(study.spoken.generation, "_follow", refuse)
    whole.say()
    pd.testing.assert_frame_equal(tables.read(DATASET, tables.SPOKEN), said)


def test_what_was_said_and_cannot_be_said_again_is_not_replaced(toy, monkeypatch, capsys):
    monkeypatch.setattr(study.spoken, "ALL_FILMS", "none")
    study.Study().say()
    # As part a would have left it.
    row = {"group": "year known", "system": "tuned", "minus": "", "metric": "hit_rate@10", "value": 0.5}
    tables.write(pd.DataFrame([{**row, "asked_of": "small"}]), tables.KNOWN, DATASET)
    folder = config.study_dir("knowledge") / DATASET
    before = {path: path.read_bytes() for path in folder.glob("*.csv")}
    assert len(before) == 4
    with pytest.raises(StudyError, match=r"by_knowledge\.csv: numbers of small tuned would be lost"):
        study.Study().say()
    # A stop after the first model.
    real = study.spoken.measure

    def measure(name, *args, **more):
        if name == "other":
            raise KeyboardInterrupt
        return real(name, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(study.spoken, "measure", measure)
        with pytest.raises(KeyboardInterrupt):
            study.Study().say()
    write_settings("small", toy / "base", toy, monkeypatch, other=toy / "nothing")
    with pytest.raises(StudyError, match=r"spoken\.csv, .*records\.csv, .*: numbers of other, small tuned"):
        study.Study().say()
    # Where none can be asked there is nothing to write.
    write_settings("small", toy / "nothing", toy, monkeypatch)
    study.Study().say()
    assert capsys.readouterr().out.count("other is not asked") == 2
    assert {path: path.read_bytes() for path in folder.glob("*.csv")} == before
    # Once the files are away the others are written.
    for path in before:
        path.unlink()
    write_settings("small", toy / "base", toy, monkeypatch, other=toy / "nothing")
    study.Study().say()
    assert set(tables.read(DATASET, tables.SPOKEN)["system"]) == {"small"}


def measured(model, folder):
    """What :func:`spoken.measure` says of a model: answers, records, and the years it wrote."""
    spec = {"model": str(model), "revision": None, "dtype": "float32", "quantization": "none"}
    about = {"dataset": DATASET, "texts": ["Which film?"], "n_probes": 10, "seed": 1, "folder": folder}
    written, records, years = study.spoken.measure("m", spec, params.load(), **about)
    return written, records, years["answer"].tolist()


def test_where_another_model_answered_a_model_is_asked_anew(toy):
    other = tiny_mistral(toy / "other", chat=True, n_layers=1, seed=6)
    first, second = measured(toy / "base", toy / "kept"), measured(other, toy / "kept")
    alone = measured(other, toy / "alone")
    assert second[0] == alone[0] != first[0] and second[2] == alone[2] != first[2]
    pd.testing.assert_frame_equal(second[1], alone[1])


def test_before_part_a_and_without_years_nothing_is_said_of_what_is_known(toy, monkeypatch, capsys):
    monkeypatch.setattr(study.spoken, "ALL_FILMS", "none")
    study.Study().say()
    assert tables.read(DATASET, tables.KNOWN).empty and words.knowing(DATASET) == [words.NOT_MEASURED]
    path = config.processed_dir(DATASET) / "items.parquet"
    items = pd.read_parquet(path)
    items.loc[3:, YEAR] = pd.NA
    files.write_parquet(items, path)
    whole = study.Study()
    for job in (Job("small", 0.0), Job("ease")):
        whole.measure(job)
    whole.say()
    assert not re.search("(small|other) is not asked", capsys.readouterr().out)
    assert tables.read(DATASET, tables.KNOWN).empty and words.knowing(DATASET) == [words.NOT_MEASURED]


def test_parts_and_runs_that_cannot_be(toy, monkeypatch):
    with pytest.raises(StudyError, match="no part 'z'; it has a, b, c, d, e, notebook"):
        study.run_all(["z"])
    monkeypatch.setattr(stages, "machine", lambda: {"gpu": "one"})
    assert {row.labels["share"] for row in study.Study().part("c").rows} == {0.0, 1.0}
    whole = params.load()
    monkeypatch.setattr(study.params, "load", lambda: whole.model_copy(update={"trial": True}))
    with pytest.raises(StudyError, match="is a trial or another seed"):
        study.run_all()
