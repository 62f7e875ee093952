"""Does a fast way of reading give what plain reading gives? Asked of every model before its numbers count.

Answers are written in padded batches with a cache, titles are scored along a tree in one cache. Some
architectures cannot be read so (a state in the place of a cache, positions counted by place, windows) and
would give other numbers without an error. The first use of a model compares drawn tokens of several
lengths with plain passes: one text, no padding, no cache, no mask.

tests/test_plain.py holds what was compared: Llama, Mistral, Qwen2, Qwen3, Gemma 2, Gemma 3, Phi-3,
SmolLM3, GPT-2, OPT and GPT-NeoX are equal; GPT-Neo, BLOOM and MPT answer, and their title scores are
refused; Mamba, RWKV, RecurrentGemma, LFM2, Qwen3-Next, Falcon-H1 and Granite 4 hybrids are refused. Others
are compared in the same way when they are used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language.loading import is_out_of_memory

# Beyond the windows that count places in the cache (GPT-Neo: 256).
LONGEST = 300


def positions(settings: PretrainedConfig) -> int:
    """Most tokens that a model has positions for; a very large number where it counts none."""
    return getattr(settings.get_text_config(), "max_position_embeddings", None) or sys.maxsize


def tokens(model: PreTrainedModel, *lengths: int, draw: int = 0) -> list[list[int]]:
    """Drawn token ids, one list a length; every call with the same `draw` gives the same."""
    rng = np.random.default_rng(draw)
    rows = model.get_input_embeddings().num_embeddings
    return [rng.integers(rows // 2, rows, size=length).tolist() for length in lengths]


def padded(ids: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` of lists of tokens, padded on the left."""
    longest = max(map(len, ids))
    rows = [[0] * (longest - len(row)) + list(row) for row in ids]
    masks = [[0] * (longest - len(row)) + [1] * len(row) for row in ids]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}


def log_probabilities(model: PreTrainedModel, ids: Sequence[int]) -> torch.Tensor:
    """What follows each token by one plain pass: shape (n_tokens, vocabulary), nats, single precision."""
    logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits
    return logits[0].float().log_softmax(-1)


def check_once(model: PreTrainedModel, work: str, largest_difference: Callable[[int], float]) -> None:
    """Refuse a model for some work where that differs from plain reading; compares once a model.

    Args:
        model: remembers what it has passed, in `equal_to_plain`.
        work: what is checked, for the message.
        largest_difference: of log-probabilities, in nats, on the texts of the draw whose number it gets. In
            16 bits a draw that is off is forgiven if the next two are not.

    Raises:
        StudyError: naming the architecture.
    """
    passed = vars(model).setdefault("equal_to_plain", set())
    if work in passed:
        return
    # 16 bits round every product, and drawn tokens make no sense: by accident one may be off by a nat.
    # A wrong way of reading is off in the next draw too.
    limit, forgiving = max(0.01, 64 * torch.finfo(model.dtype).eps), torch.finfo(model.dtype).bits == 16
    off: list[float] = []

    def right(draw: int) -> bool:
        off.append(largest_difference(draw))
        return off[-1] <= limit

    try:
        passes = right(0) or (forgiving and right(1) and right(2))
    except Exception as error:
        if isinstance(error, StudyError) or is_out_of_memory(error):
            raise
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0]}"
    else:
        if passes:
            passed.add(work)
            return
        reason = f"log-probabilities are up to {np.max(off):.2g} nats off"
    raise StudyError(
        f"models of the architecture {model.config.model_type} cannot be used for {work} here ({reason},"
        " compared with one plain pass a text): use a model of another architecture"
    )
