"""What models are given: plain text, chat templates, reasoning; the same for training and generation."""

import copy

import pandas as pd
import pytest
from hypothesis import given, strategies as st
from tiny_models import tiny_mistral, tiny_qwen2
from transformers import AutoTokenizer

from dualrec_utils.core.errors import StudyError
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


# What templates write of thoughts, as the models' own do.
TURNS = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>"
)
DROPPED = TURNS.replace("message['content']", "message['content'].split('</think>')[-1]") + "{% endif %}"
SWITCHED = TURNS + "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
CLOSED = TURNS + "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}"
MAGISTRAL = "First think: [THINK]thoughts[/THINK]." + TURNS + "{% endif %}"


@pytest.mark.parametrize(
    ("template", "at_once", "thinking"),
    [
        (DROPPED, "<think>\n\n</think>\n\n-", "<think>\n"),
        (SWITCHED, "<think>\n\n</think>\n\n-", "<think>\n"),
        (CLOSED, "</think>-", "<think>"),
        (MAGISTRAL, "[THINK]\n\n[/THINK]\n\n-", "[THINK]\n"),
        (TURNS + "{% endif %}", "-", "-"),
    ],
)
def test_what_a_template_writes_tells_whether_a_model_thinks(tokenizers, template, at_once, thinking):
    # Its vocabulary has <think> and </think> whatever the template does.
    tokenizer = copy.copy(tokenizers["reasoning"])
    assert "</think>" in tokenizer.get_vocab()
    tokenizer.chat_template = template
    start = "<|user|>History:\n- Fargo (1996)\n\nNext?<|Assistant|>"
    for wanted, ending in ((False, at_once), (True, thinking)):
        assert chat.render(tokenizer, PROMPT, thinking=wanted).endswith(start + ending)
    assert (chat.thinking_tags(tokenizer) is None) == (at_once == "-")


def test_models_without_such_a_template_do_not_think(tokenizers):
    assert [chat.thinking_tags(tokenizers[name]) for name in ("base", "chat", "reasoning")] == [
        None,
        None,
        ("<think>", "</think>"),
    ]


LLAMA = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ("{{ strftime_now('%Y-%m-%d') }}", "%Y-%m-%d"),
        (LLAMA + "{{ date_string }}", "%d %b %Y"),
        ("{% macro day() %}{{ 'It is ' + strftime_now('%A, %-d %B %y') }}{% endmacro %}{{ day() }}",
         "It is %A, %-d %B %y"),
    ],
)  # fmt: skip
def test_templates_print_one_fixed_date(tokenizers, before, wanted):
    tokenizer = copy.copy(tokenizers["chat"])
    tokenizer.chat_template = before + "\n" + TURNS + "{% endif %}"
    assert chat.render(tokenizer, PROMPT).startswith(chat.DATE.strftime(wanted) + "\n<|user|>History:")


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('Conversations must begin with the system') }}",
        "{{ messages[0]['content'] ",
        "{{ messages[7]['content'].upper() }}",
        *("", "{{ messages[0]['role'] }}", 5),
        {"tool_use": TURNS + "{% endif %}", "rag": TURNS + "{% endif %}"},
    ],
)
def test_templates_that_fail_are_one_message(tokenizers, template):
    tokenizer = copy.copy(tokenizers["chat"])
    tokenizer.chat_template = template
    with pytest.raises(
        StudyError, match=r"chat template cannot write a user's turn: .+ Correct chat_template"
    ):
        chat.prompt_ids(tokenizer, PROMPT)


def test_the_default_of_several_templates_is_used(tokenizers):
    tokenizer = copy.copy(tokenizers["chat"])
    tokenizer.chat_template = {"tool_use": "{{ fail() }}", "default": TURNS + "{% endif %}"}
    assert chat.render(tokenizer, "Next?") == "<|user|>Next?<|Assistant|>-"


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


@given(
    thoughts=st.text(alphabet="a\n- (1990)", max_size=40),
    opened=st.booleans(),
    tags=st.sampled_from(chat.TAGS),
)
def test_no_title_is_read_out_of_thoughts(thoughts, opened, tags):
    opening, closing = tags
    answer = (f"{opening}\n" if opened else "") + chat.close_thinking(thoughts, closing) + "- Heat (1995)\n"
    assert parse_titles(answer) == ["Heat (1995)"]
    assert parse_titles(f"{opening}\n{thoughts}") == []
