"""Checkpoints of the architectures the paper uses, a few thousand random weights each, with tokenizers.

They are saved to a folder, so that a test loads them as a user loads a model of their own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from dualrec_utils.models.language.prompts import HEADER, HINT, REQUEST

MISTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "[INST] {{ message['content'] }}[/INST]{% else %} {{ message['content'] }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
# The generation prompt opens the reasoning, as that of DeepSeek-R1-Distill does.
REASONING_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "<|User|>{{ message['content'] }}{% else %}<|Assistant|>{{ message['content'] }}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
_LINES = (
    HEADER,
    HINT.format(title="Fargo (1996)"),
    REQUEST.format(n_titles=3),
    "- Toy Story (1995) (Animation, Comedy)",
    "- Film 01 (1961)\n- Film 02 (1962) (Drama)",
)
_VOCABULARY = 400


def tiny_mistral(folder: Path, *, chat: bool, seed: int = 0, width: int = 32, n_layers: int = 2) -> Path:
    """Write a tiny Mistral to `folder` and return it.

    Args:
        chat: with the chat template of an instruction-tuned Mistral, or a base model without one.
        seed: of the weights. width: of the model, a multiple of 4. n_layers: its depth.
    """
    tokenizer = _tokenizer(("<s>", "</s>", "[INST]", "[/INST]"), plain=())
    if chat:
        tokenizer.chat_template = MISTRAL_CHAT
    settings = MistralConfig(
        **_shape(tokenizer, width, n_layers), num_key_value_heads=1, sliding_window=None
    )
    return _save(MistralForCausalLM, settings, tokenizer, folder, seed=seed)


def tiny_qwen2(
    folder: Path, *, reasoning: bool = True, seed: int = 0, width: int = 32, n_layers: int = 2
) -> Path:
    """Write a tiny Qwen2 to `folder` and return it.

    Args:
        reasoning: with the chat template and the reasoning tokens of DeepSeek-R1-Distill, or a base
            model without them.
        seed, width, n_layers: as :func:`tiny_mistral`.
    """
    # transformers gives every Qwen2 tokenizer the last one to pad with.
    special = ("<|begin|>", "<|end|>", "<|User|>", "<|Assistant|>", "<|endoftext|>")
    tokenizer = _tokenizer(special, plain=("<think>", "</think>") if reasoning else ())
    if reasoning:
        tokenizer.chat_template = REASONING_CHAT
    settings = Qwen2Config(**_shape(tokenizer, width, n_layers), num_key_value_heads=1)
    return _save(Qwen2ForCausalLM, settings, tokenizer, folder, seed=seed)


def _tokenizer(special: tuple[str, ...], *, plain: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts the first special token before every text; the second one ends texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_LINES, trainer)
    begin, end = special[:2]
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, bpe.token_to_id(begin))]
    )
    bpe.add_tokens(list(plain))
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=begin, eos_token=end)


def _shape(tokenizer: PreTrainedTokenizerFast, width: int, n_layers: int) -> dict:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 2,
        "max_position_embeddings": 1024,
        # Wide enough that the best token stands out: greedy answers do not depend on rounding.
        "initializer_range": 0.3,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _save(
    architecture: type[PreTrainedModel],
    settings: MistralConfig | Qwen2Config,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    seed: int,
) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture(settings)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
