"""Pretrained language models without the Hub: their weights are fetched, and written out once.

A stage that asks such a model has it written out before it starts; `dualrec weights NAME` does so by hand.
The stage then loads an ordinary model folder and knows nothing of packed weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dualrec_utils.core import files
from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.datasets import sources, weights


def named(values: Any, stage: str) -> list[str]:
    """The models of :data:`datasets.weights.MODELS` that a stage asks, each once.

    Some sections have models of their own, others name an entry of such a section.

    Args:
        values: all of `params.yaml`, as :func:`pipeline.params.load`.
        stage: its name.
    """
    untuned, tuned = values.zero_shot_llm.models, values.lora_finetuning.models
    entries = {
        "zero_shot_llm": list(untuned.values()),
        "lora_finetuning": list(tuned.values()),
        "rerank_ablation": [tuned[values.rerank_ablation.model]],
        "audit": [tuned[values.audit.model]],
        "cold_start": [untuned[values.cold_start.language_model]],
    }
    names = [entry.model for entry in entries.get(stage, []) if entry.backend == "local"]
    return [name for name in dict.fromkeys(names) if name in weights.MODELS]


def write_all(names: Sequence[str] = ()) -> int:
    """Fetch and write out some models, by default all; print where each lies."""
    for name in names or weights.MODELS:
        print(f"{name}: {written_out(name)}", flush=True)
    return 0


def written_out(name: str) -> Path:
    """The folder of a pretrained model, its 4-bit weights written out in bfloat16: made once.

    transformers unpacks the packed file in every use otherwise, which takes minutes and cannot be trained.

    Args:
        name: a key of :data:`datasets.weights.MODELS`.

    Returns:
        `data/raw/<name>/model`, which loads as any other folder does.

    Raises:
        StudyError: as :func:`datasets.weights.fetch` and :func:`models.language.loading.load_model`, or
            when the disk is full.
    """
    # Both bring torch.
    from safetensors import SafetensorError

    from dualrec_utils.models.language import loading

    packed, target = weights.fetch(name), loading.written_folder(name)
    with sources.alone(target):
        if not (target / "config.json").is_file():
            print(f"language: writing out {packed.name}, once; about a minute", flush=True)
            model, tokenizer = loading.load_model(packed, dtype="bfloat16")
            # Saving is refused while these say that the weights are packed.
            model.hf_quantizer, model.is_quantized = None, False
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            try:
                with files.replacing_folder(target) as temporary:
                    model.save_pretrained(temporary)
                    tokenizer.save_pretrained(temporary)
            except SafetensorError as error:
                raise StudyError(
                    f"{target} could not be written ({first_line(error)}): is the disk full? Nothing is"
                    " half written; make room and run again"
                ) from error
    return target
