"""Tests of audit.adapters, on tiny models of random weights."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import edit_code
from safetensors.torch import load_file, save_file
from test_instructions import CATALOG, examples

from dualrec_utils.audit import adapters, interface, material
from dualrec_utils.core import config
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import ITEM
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import examples as lessons, lora, training
from dualrec_utils.models.language import constrained, generation, prompts
from dualrec_utils.models.movielm import documents, model as movielm
from dualrec_utils.pipeline import params

SHAPE = {"rank": 2, "alpha": 4, "dropout": 0.0, "seed": 3}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return documents.train_tokenizer(CATALOG, vocabulary=400)


def tiny_model(tokenizer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return movielm.new_model(tokenizer, hidden_size=32, n_layers=1, n_heads=2, dropout=0.0)


def test_padding_carries_loss_only_in_the_variant_about_it(tokenizer):
    encoded = lessons.encode(examples(), tokenizer, max_tokens=512)
    before = [dict(example) for example in encoded]
    padded = adapters.padded_everywhere(encoded, pad=tokenizer.pad_token_id)
    longest = max(len(example["input_ids"]) for example in encoded)
    for old, new in zip(encoded, padded, strict=True):
        size = len(old["input_ids"])
        assert len(new["input_ids"]) == len(new["labels"]) == len(new["attention_mask"]) == longest
        assert new["labels"] == new["input_ids"] and new["input_ids"][:size] == old["input_ids"]
        assert set(new["input_ids"][size:]) <= {tokenizer.pad_token_id}
        assert new["attention_mask"] == [1] * size + [0] * (longest - size)
    assert encoded == before


def test_other_projections_stay_as_they_were_when_only_two_learn(tokenizer):
    model = lora.attach(tiny_model(tokenizer), **SHAPE)
    adapters.keep_q_and_v(model)
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning and all("q_proj" in name or "v_proj" in name for name in learning)
    encoded = lessons.encode(examples(), tokenizer, max_tokens=512)
    schedule = {"n_epochs": 1, "batch_size": 2, "accumulation": 1, "learning_rate": 0.05}
    training.train(model, tokenizer, encoded, encoded, seed=1, label="two", **schedule)
    sums = {name: float(weight.detach().abs().sum()) for name, weight in model.named_parameters()}
    moved = {name for name, total in sums.items() if "lora_B" in name and total > 0}
    assert {name.split(".")[-4] for name in moved} == {"q_proj", "v_proj"}


def test_answers_carry_the_names_of_their_cases(tokenizer):
    cases = pd.DataFrame({"case_id": ["x", "y"]})
    decoding = {"max_new_tokens": 8, "batch_size": 2, "n_lines": 3}
    speaker = generation.LoadedModel(tiny_model(tokenizer).eval(), tokenizer, decoding, about={})
    given = adapters.answers(speaker, ["one", "two"], cases, label="test")
    assert given.to_dict() == dict(zip("xy", speaker.answer(["one", "two"], label="test"), strict=True))


def test_the_bare_history_is_asked_anew_with_its_last_movies_and_no_rated_one_comes_back(
    tokenizer, monkeypatch, tmp_path
):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    speaker = generation.LoadedModel(tiny_model(tokenizer).eval(), tokenizer, {}, about={})
    monkeypatch.setattr(adapters, "load", lambda data: speaker)
    monkeypatch.setattr(params, "section", {"zero_shot_llm": {"ranking": "exact", "beam_width": 4}}.get)
    ids = CATALOG.ids
    # The same last movie after other ones: with one movie shown, only what is left out can differ.
    cases = pd.DataFrame({"case_id": ["a", "b"], "history": [ids[[0, 1]], ids[[2, 1]]]})
    data = SimpleNamespace(catalog=CATALOG, seed=1, dataset="toy")
    row = interface.Setting(interface.BARE, 1, 3, interface.LEFT_OUT)
    lists = interface.asked_anew(data, cases, [row])[row]
    texts = prompts.build_history_prompts(cases.head(1), CATALOG, n_recent=1, genres=False)
    scores = constrained.score_titles(speaker.model, tokenizer, texts, CATALOG, label="all")[0]
    for case, history in zip(cases["case_id"], cases["history"], strict=True):
        fresh = [item for item in ids[np.argsort(-scores)] if item not in history]
        assert lists[lists["case_id"] == case]["item_id"].tolist() == fresh[:3]


def test_an_unknown_variant_is_refused():
    with pytest.raises(StudyError, match=r"audit.adapters names 'more'"):
        adapters.train_variant("more", model="movielm")


def test_a_model_that_is_not_fine_tuned_is_refused():
    with pytest.raises(StudyError, match=r"audit.model is 'gpt'.*movielm"):
        material.tuning_of("gpt")


# A variant is trained once, and again only when something that it depends on changes.


@pytest.fixture
def section(lora_section, monkeypatch):
    monkeypatch.setattr(params, "section", lambda name: dict(lora_section))
    return lora_section


@pytest.fixture
def trained(section, monkeypatch):
    """Counts the trainings of :func:`adapters.train_variant`, which really happen."""
    counts = []

    class Counted(training.Trainer):
        def train(self, *arguments, **named):
            counts.append(1)
            return super().train(*arguments, **named)

    monkeypatch.setattr(training, "Trainer", Counted)
    return counts


def weights_of(model):
    return {name: weight for name, weight in model.state_dict().items() if "lora_" in name}


def test_a_variant_is_trained_once_and_comes_back_as_it_was(section, trained):
    first, _, curve = adapters.train_variant(adapters.Q_AND_V, model="small")
    # What DVC does before the stage runs again.
    shutil.rmtree(config.stage_dir("ml-100k", "audit"), ignore_errors=True)
    torch.manual_seed(99)
    again, _, same_curve = adapters.train_variant(adapters.Q_AND_V, model="small")
    assert len(trained) == 1
    pd.testing.assert_frame_equal(same_curve, curve)
    before, after = weights_of(first), weights_of(again)
    assert any((weight != 0).any() for name, weight in before.items() if "lora_B" in name)
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    adapters.train_variant(adapters.EVERYWHERE, model="small")
    assert len(trained) == 2
    adapters.train_variant(adapters.Q_AND_V, model="small")
    assert len(trained) == 2


def swap_two_weights(section):
    """Another base model, whose weights have the same sum."""
    path = f"{section['models']['small']['model']}/model.safetensors"
    weights = load_file(path)
    table = weights["model.embed_tokens.weight"]
    table[[7, 8]] = table[[8, 7]]
    save_file(weights, path, metadata={"format": "pt"})


def change_a_hint():
    path = config.handoff_dir("ml-100k", "lstm") / "hints_lora_train.parquet"
    hints = pd.read_parquet(path)
    hints.loc[0, ITEM] = load_catalog("ml-100k").ids[5]
    hints.to_parquet(path)


def test_whatever_a_variant_depends_on_trains_it_anew_and_nothing_else(
    section, trained, tmp_path, monkeypatch
):
    changes = {
        "nothing yet": lambda: None,
        "settings": lambda: section.update(learning_rate=0.02),
        "shape": lambda: section.update(alpha=8),
        "seed": lambda: section.update(seed=5),
        "code": lambda: edit_code(monkeypatch, tmp_path / "one", "models/finetuning/training.py"),
        "base": lambda: swap_two_weights(section),
        "examples": change_a_hint,
        "which projections learn": lambda: monkeypatch.setattr(
            adapters, "keep_q_and_v", lambda model: None
        ),
    }
    for number, (name, change) in enumerate(changes.items(), start=1):
        change()
        adapters.train_variant(adapters.Q_AND_V, model="small")
        assert len(trained) == number, name
    others = ("models/baselines/ease.py", "models/hybrids/rerank.py", "audit/measure.py")
    edit_code(monkeypatch, tmp_path / "two", *others)
    adapters.train_variant(adapters.Q_AND_V, model="small")
    assert len(trained) == len(changes)
