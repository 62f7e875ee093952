"""Checkpoints of the architectures the paper uses, a few thousand random weights each, with tokenizers.

They are saved to a folder, so that a test loads them as a user loads a model of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from dualrec_utils.core.domain import MOVIES
from dualrec_utils.models.language import chat
from dualrec_utils.models.language.prompts import HINT, format_answer, header, request

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
    header(MOVIES),
    HINT.format(title="Fargo (1996)"),
    request(MOVIES, n_titles=3),
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


def tiny_gguf(source: Path, file: Path) -> Path:
    """Write the base model of :func:`tiny_qwen2` in `source` as a GGUF file and return it."""
    # Imported here: most tests do without it.
    import gguf

    model, tokenizer = AutoModelForCausalLM.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    settings, special = model.config, tokenizer.all_special_ids
    file.parent.mkdir()
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_context_length(settings.max_position_embeddings)
    writer.add_embedding_length(settings.hidden_size)
    writer.add_block_count(settings.num_hidden_layers)
    writer.add_feed_forward_length(settings.intermediate_size)
    writer.add_head_count(settings.num_attention_heads)
    writer.add_head_count_kv(settings.num_key_value_heads)
    writer.add_rope_freq_base(settings.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(settings.rms_norm_eps)
    writer.add_vocab_size(settings.vocab_size)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    merges = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [kinds.CONTROL if number in special else kinds.NORMAL for number in range(len(tokens))]
    )
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, settings.num_hidden_layers)
    for name, weight in model.state_dict().items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


_SHAPE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 1024, "initializer_range": 0.3,
}  # fmt: skip
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
_MIXED = _SHAPE | {"layer_types": ["linear_attention", "full_attention"]}
_EXPERTS = {"num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1}
_STATES = {"mamba_d_state": 8, "mamba_n_groups": 1, "mamba_n_heads": 4}
# What else a configuration needs to be tiny, by model type.
ARCHITECTURES = {
    "llama": _SHAPE,
    "mistral": _SHAPE | {"sliding_window": None},
    "qwen2": _SHAPE,
    "qwen3": _SHAPE,
    "gemma2": _SHAPE | {"query_pre_attn_scalar": 16, "sliding_window": 512},
    "gemma3_text": _SHAPE | {"query_pre_attn_scalar": 16, "sliding_window": 512},
    "phi3": _SHAPE,
    "smollm3": _SHAPE,
    "gpt2": _GPT,
    "opt": _SHAPE | {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.3},
    "gpt_neox": _SHAPE,
    "gpt_neo": _SHAPE | {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "bloom": _GPT | {"hidden_size": 32},
    "mpt": {"d_model": 32, "n_heads": 2, "n_layers": 2, "initializer_range": 0.3},
    "mamba": {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "initializer_range": 0.3},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 1024},
    "recurrent_gemma": _SHAPE | {"num_hidden_layers": 3, "lru_width": 32, "w_init_variance_scale": 1.0},
    "lfm2": _SHAPE | {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "qwen3_next": _MIXED | _EXPERTS | {
        "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
        "linear_num_value_heads": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
    },
    "falcon_h1": _SHAPE | _STATES | {"mamba_d_ssm": 32, "mamba_d_head": 8},
    "granitemoehybrid": _SHAPE | _STATES | _EXPERTS | {
        "mamba_d_head": 16, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 32,
    },
}  # fmt: skip


def tiny_architecture(
    name: str, tokenizer: PreTrainedTokenizerBase, *, seed: int = 0, **settings: Any
) -> PreTrainedModel:
    """A model of one of :data:`ARCHITECTURES` with weights wide enough that rounding decides nothing."""
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    shape = ARCHITECTURES[name] | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.eos_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **shape | ends | settings))
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.25)
    return model.eval()


def plain_title_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """Title scores, one full forward pass a title and nothing shared: shape (n_texts, n_names), nats."""
    scores = np.zeros((len(texts), len(names)))
    for row, text in enumerate(texts):
        start = len(chat.prompt_ids(tokenizer, text))
        for column, name in enumerate(names):
            ids = chat.prompt_ids(tokenizer, text, prefix=format_answer([name]))
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
            chances = logits.double().log_softmax(-1)
            scores[row, column] = sum(float(chances[at - 1, ids[at]]) for at in range(start, len(ids)))
    return scores


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
