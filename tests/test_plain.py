"""Architectures of many kinds: answers and title scores are those of plain reading, or refused by name."""

import math
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import ARCHITECTURES, plain_title_scores, tiny_architecture, tiny_mistral
from transformers import AutoTokenizer

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import chat, constrained, generation, plain

pytestmark = pytest.mark.usefixtures("one_thread")

CATALOG = Catalog.of(
    pd.DataFrame(
        {
            "item_id": [1, 2, 3],
            "title": ["Toy Story", "Toy", "Fargo"],
            "year": pd.array([1995, 1995, 1996], dtype="Int64"),
            "genres": [[]] * 3,
        }
    )
)
PROMPTS = ["- Fargo (1996)\n" * 4, "- Film 01 (1961)\n", "- Toy Story (1995)\n" * 9]
NEITHER = {"mamba", "rwkv", "recurrent_gemma", "lfm2", "qwen3_next", "falcon_h1", "granitemoehybrid"}
ANSWERS_ONLY = {"gpt_neo", "bloom", "mpt"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return AutoTokenizer.from_pretrained(tiny_mistral(folder, chat=False), padding_side="left")


@pytest.fixture(scope="module")
def prepare(tokenizer):
    def build(name, **settings):
        tokenizer.pad_token = tokenizer.eos_token
        return tiny_architecture(name, tokenizer, **settings)

    return build


def answers_of(model, tokenizer, ids):
    settings = {"max_new_tokens": 4, "batch_size": 3, "label": "test"}
    return generation.complete(model, tokenizer, ids, **settings)


def one_by_one(model, ids, ends, n_new=4):
    new = []
    with torch.inference_mode():
        while len(new) < n_new:
            token = int(model(torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax())
            if token in ends:
                break
            new.append(token)
    return new


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_right_or_refused(name, prepare, tokenizer):
    model = prepare(name)
    ids = [chat.prompt_ids(tokenizer, text) for text in PROMPTS]
    if name in NEITHER:
        with pytest.raises(StudyError, match=f"architecture {name} cannot be used for answers in batches"):
            answers_of(model, tokenizer, ids)
    else:
        alone = [one_by_one(model, row, {tokenizer.eos_token_id}) for row in ids]
        assert answers_of(model, tokenizer, ids) == alone
    if name in NEITHER | ANSWERS_ONLY:
        with pytest.raises(StudyError, match=f"architecture {name} cannot be used for title scores"):
            constrained.score_titles(model, tokenizer, PROMPTS, CATALOG, label="test")
    else:
        scores = constrained.score_titles(model, tokenizer, PROMPTS, CATALOG, label="test")
        wanted = plain_title_scores(model, tokenizer, PROMPTS, list(CATALOG.names.values()))
        np.testing.assert_allclose(scores, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_window_longer_than_any_prompt_is_seen(prepare, tokenizer, dtype):
    """GPT-Neo's own: the titles of a short prompt would pass, those of a long one would not."""
    model = prepare("gpt_neo", window_size=256).to(dtype)
    with pytest.raises(StudyError, match=r"gpt_neo cannot be used for title scores here \(.*nats off"):
        constrained.score_titles(model, tokenizer, PROMPTS, CATALOG, label="test")


@pytest.mark.parametrize(
    ("off", "in_32_bits", "in_16_bits"),
    [
        ([0.001, 9, 9], True, True),
        ([0.98, 0.05, 0.03], False, True),
        ([0.98, 0.05, 0.98], False, False),
        ([0.98, 0.98, 0.05], False, False),
        ([math.inf, math.inf, 0.0], False, False),
        ([math.nan, math.nan, math.nan], False, False),
    ],
)
def test_in_16_bits_an_accident_that_does_not_come_back_is_forgiven(off, in_32_bits, in_16_bits, prepare):
    """A tuned Qwen in bfloat16 was 0.98 nats off at one token of nine, in single precision 0.00."""
    for dtype, passes in (
        (torch.float32, in_32_bits),
        (torch.bfloat16, in_16_bits),
        (torch.float16, in_16_bits),
    ):
        model = prepare("llama").to(dtype)
        expected = nullcontext() if passes else pytest.raises(StudyError, match=f"up to {max(off[:2]):.2g}")
        with expected:
            plain.check_once(model, "answers", off.__getitem__)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_planted_error_is_seen_once_and_a_model_is_checked_once(prepare, tokenizer, monkeypatch, dtype):
    model = prepare("llama").to(dtype)
    n_passes = 0
    forward = model.forward

    def counted(*args, attention_mask=None, **settings):
        nonlocal n_passes
        n_passes += 1
        if attention_mask is not None and attention_mask.dim() == 2 and wrong:
            # Padding is read like any token.
            attention_mask = torch.ones_like(attention_mask)
        return forward(*args, attention_mask=attention_mask, **settings)

    monkeypatch.setattr(model, "forward", counted)
    ids, wrong = [[5, 6, 7]], True
    with pytest.raises(StudyError, match="answers in batches"):
        answers_of(model, tokenizer, ids)
    wrong = False
    counts = []
    for _ in range(3):
        before = n_passes
        answers_of(model, tokenizer, ids)
        counts.append(n_passes - before)
    assert counts[0] > counts[1] == counts[2] <= 4
