"""What models are given: plain text, chat templates, reasoning; the same for training and generation."""

import pandas as pd
import pytest
from hypothesis import given, strategies as st
from tiny_models import tiny_mistral, tiny_qwen2
from transformers import AutoTokenizer

from dualrec_utils.models.finetuning import examples as instructions
from dualrec_utils.models.language import chat
from dualrec_utils.models.language.parsing import parse_titles

PROMPT = "History:\n- Fargo (1996)\n\nNext?\n\n"


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    written = {
        "base": tiny_mistral(folder / "base", chat=False),
        "chat": tiny_mistral(folder / "chat", chat=True),
        "reasoning": tiny_qwen2(folder / "reasoning", reasoning=True),
    }
    return {name: AutoTokenizer.from_pretrained(path) for name, path in written.items()}


def test_a_base_model_reads_the_prompt_and_the_bullet(tokenizers):
    assert chat.render(tokenizers["base"], PROMPT) == PROMPT + "-"


def test_a_chat_model_reads_its_template_then_the_bullet(tokenizers):
    text = "<s>[INST] History:\n- Fargo (1996)\n\nNext?[/INST]-"
    assert chat.render(tokenizers["chat"], PROMPT) == text
    assert chat.render(tokenizers["chat"], PROMPT, thinking=True) == text


def test_a_reasoning_model_thinks_or_answers_at_once(tokenizers):
    start = "<|begin|><|User|>History:\n- Fargo (1996)\n\nNext?<|Assistant|><think>\n"
    assert chat.render(tokenizers["reasoning"], PROMPT, thinking=True) == start
    assert chat.render(tokenizers["reasoning"], PROMPT) == start + "\n</think>\n\n-"


def test_thoughts_are_opened_where_a_template_leaves_them_to_the_model(tokenizers):
    tokenizer = tokenizers["reasoning"]
    older = tokenizer.chat_template.replace("<think>\n", "")
    wanted = chat.render(tokenizer, PROMPT, thinking=True)
    before, tokenizer.chat_template = tokenizer.chat_template, older
    try:
        assert chat.render(tokenizer, PROMPT, thinking=True) == wanted
    finally:
        tokenizer.chat_template = before


def test_only_a_template_and_a_closing_token_make_a_model_reason(tokenizers):
    assert [chat.reasons(tokenizers[name]) for name in ("base", "chat", "reasoning")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("name", ["base", "chat", "reasoning"])
def test_texts_begin_once(tokenizers, name):
    tokenizer = tokenizers[name]
    ids = chat.prompt_ids(tokenizer, PROMPT)
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids).removeprefix(tokenizer.bos_token) == chat.render(
        tokenizer, PROMPT
    ).removeprefix(tokenizer.bos_token)


@pytest.mark.parametrize("name", ["base", "chat", "reasoning"])
def test_training_and_generation_read_the_same_tokens(tokenizers, name):
    examples = pd.DataFrame(
        {"user_id": [1], "prompt": [PROMPT], "answer": ["- Film 01 (1961)\n- Film 02 (1962)\n"]}
    )
    (example,) = instructions.encode(examples, tokenizers[name], max_tokens=512)
    without_loss = example["labels"].count(instructions.IGNORED)
    assert example["input_ids"][:without_loss] == chat.prompt_ids(tokenizers[name], PROMPT)


@given(thoughts=st.text(alphabet="a\n- (1990)", max_size=40), opened=st.booleans())
def test_no_title_is_read_out_of_thoughts(thoughts, opened):
    answer = (f"{chat.OPEN}\n" if opened else "") + chat.close_thinking(thoughts) + "- Heat (1995)\n"
    assert parse_titles(answer) == ["Heat (1995)"]
    assert parse_titles(f"{chat.OPEN}\n{thoughts}") == []
