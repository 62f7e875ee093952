"""Tests of audit.adapters, on a tiny Mistral model with random weights."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_instructions import CATALOG, examples

from dualrec_utils.audit import adapters as audit_language
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import examples as instructions, lora, training as lora_training
from dualrec_utils.models.language import chat, generation, prompts
from dualrec_utils.models.movielm import documents as movielm_data, model as movielm

SHAPE = {"rank": 2, "alpha": 4, "dropout": 0.0, "seed": 3}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return movielm_data.train_tokenizer(CATALOG, vocabulary=400)


def tiny(tokenizer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return movielm.new_model(tokenizer, hidden_size=32, n_layers=1, n_heads=2, dropout=0.0)


def test_padding_carries_loss_only_in_the_variant_about_it(tokenizer):
    encoded = instructions.encode(examples(), tokenizer, max_tokens=512)
    before = [dict(example) for example in encoded]
    padded = audit_language.padded_everywhere(encoded, pad=tokenizer.pad_token_id)
    longest = max(len(example["input_ids"]) for example in encoded)
    for old, new in zip(encoded, padded, strict=True):
        size = len(old["input_ids"])
        assert len(new["input_ids"]) == len(new["labels"]) == len(new["attention_mask"]) == longest
        assert new["labels"] == new["input_ids"] and new["input_ids"][:size] == old["input_ids"]
        assert set(new["input_ids"][size:]) <= {tokenizer.pad_token_id}
        assert new["attention_mask"] == [1] * size + [0] * (longest - size)
    assert encoded == before


def test_other_projections_stay_as_they_were_when_only_two_learn(tokenizer):
    model = lora.attach(tiny(tokenizer), **SHAPE)
    audit_language.keep_q_and_v(model)
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning and all("q_proj" in name or "v_proj" in name for name in learning)
    encoded = instructions.encode(examples(), tokenizer, max_tokens=512)
    schedule = {"n_epochs": 1, "batch_size": 2, "accumulation": 1, "learning_rate": 0.05}
    lora_training.train(model, tokenizer, encoded, encoded, seed=1, label="two", **schedule)
    sums = {name: float(weight.detach().abs().sum()) for name, weight in model.named_parameters()}
    moved = {name for name, total in sums.items() if "lora_B" in name and total > 0}
    assert {name.split(".")[-4] for name in moved} == {"q_proj", "v_proj"}


def test_as_much_history_as_fits_and_no_more(tokenizer):
    item_ids = CATALOG.ids
    long = np.tile(item_ids, 30)
    cases = pd.DataFrame({"case_id": ["a", "b"], "history": [long, item_ids[:2]]})
    hints = pd.Series({"a": item_ids[0], "b": item_ids[0]})
    how = {"hints": hints, "n_titles": 3}
    texts, held = audit_language.fitting_prompts(cases, CATALOG, tokenizer, n_tokens=300, **how)
    assert held[1] == 2 and texts[1] == prompts.build_prompts(cases.tail(1), CATALOG, n_recent=2, **how)[0]
    assert 2 < held[0] < len(long)
    assert len(chat.prompt_ids(tokenizer, texts[0])) <= 300
    more = prompts.build_prompts(cases.head(1), CATALOG, n_recent=held[0] + 2, **how)[0]
    assert len(chat.prompt_ids(tokenizer, more)) > 300


def test_answers_carry_the_names_of_their_cases(tokenizer):
    cases = pd.DataFrame({"case_id": ["x", "y"]})
    settings = {"max_new_tokens": 8, "generation_batch_size": 2, "n_titles": 3}
    model = tiny(tokenizer).eval()
    given = audit_language.answers(model, tokenizer, ["one", "two"], cases, settings=settings, label="test")
    alone = generation.generate(model, tokenizer, ["two"], max_new_tokens=8, batch_size=2, label="test")
    assert given["y"] == alone[0] and given.index.tolist() == ["x", "y"]


def test_an_unknown_variant_is_refused():
    with pytest.raises(StudyError, match=r"audit.adapters names 'more'"):
        audit_language.train_variant("more", model="movielm")


def test_a_model_that_is_not_fine_tuned_is_refused():
    with pytest.raises(StudyError, match=r"audit.model is 'gpt'.*movielm"):
        audit_language.settings_of("gpt")
