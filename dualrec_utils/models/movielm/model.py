"""A small language model trained in the pipeline: Mistral's architecture, random weights, item lists.

It reads nothing but training users' histories, written as the prompts write them (header, one item a
line), and learns titles and what follows what. It sees no instruction and no world knowledge. The last
five items of every training user are left out: they become the answers that adapters are taught
(paper section 4.2.3), and a base model that had read them would make those adapters look worse than
they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional
from tqdm import tqdm
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.reproducible import reproducible
from dualrec_utils.core.splits import load_earlier, load_histories
from dualrec_utils.models.movielm.documents import IGNORED, Documents, batches, padded, train_tokenizer

STAGE = "movielm"
# Prompt and answer of the study take about 170 tokens; LoRA allows 512 (paper section 4.2.3).
_MAX_POSITIONS = 1024


def token_losses(model: MistralForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood in nats of every label but the first; 0 where the label is -100.

    Args:
        ids: (n_documents, n_tokens), padded on the right, which causal attention never looks at; on any
            device.
        labels: same shape.

    Returns:
        (n_documents, n_tokens - 1), on the model's device.
    """
    ids, wanted = ids.to(model.device), labels[:, 1:].to(model.device)
    counted = wanted != IGNORED
    states = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    # The vocabulary's scores are over half of the work: they are made for labelled tokens alone.
    losses = functional.cross_entropy(
        model.lm_head(states[counted]).float(), wanted[counted], reduction="none"
    )
    return losses.new_zeros(wanted.shape).masked_scatter(counted, losses)


@torch.inference_mode()
def evaluate(
    model: MistralForCausalLM,
    documents: Documents,
    histories: Mapping[int, np.ndarray],
    *,
    genres: bool,
    batch_size: int,
    pad: int,
) -> dict[str, float]:
    """Loss on the end of each history: as many of the last items as fit into one document.

    Returns:
        `loss_per_token` and `loss_per_title` (nats a line: bullet, title, year, genres if written, line
        break, so that a uniform guess among 1,000 items costs ln 1,000 = 6.9), `n_titles`, `n_tokens`.
        The first item of a document is not counted: nothing precedes it.
    """
    model.eval()
    sequences = []
    for user in sorted(histories):
        history = histories[user]
        _, fitting = documents.document(history[::-1], genres=genres, budget=documents.max_tokens)
        tail = history[len(history) - len(fitting) :]
        sequences.append(documents.document(tail, genres=genres, budget=documents.max_tokens))
    sequences.sort(key=lambda pair: len(pair[0]))
    total, n_tokens, n_titles = 0.0, 0, 0
    for first in range(0, len(sequences), batch_size):
        chosen = sequences[first : first + batch_size]
        losses = token_losses(model, *padded([(ids, ids) for ids, _ in chosen], pad))
        for row, (ids, lengths) in zip(losses, chosen, strict=True):
            counted = row[len(documents.header) - 1 + lengths[0] : len(ids) - 1]
            total += float(counted.double().sum())
            n_tokens += len(counted)
            n_titles += len(lengths) - 1
    return {
        "loss_per_token": total / n_tokens,
        "loss_per_title": total / n_titles,
        "n_titles": n_titles,
        "n_tokens": n_tokens,
    }


def train(
    histories: Mapping[int, np.ndarray],
    validation: Mapping[int, np.ndarray],
    catalog: Catalog,
    *,
    seed: int,
    vocabulary: int,
    hidden_size: int,
    n_layers: int,
    n_heads: int,
    max_tokens: int,
    genre_share: float,
    noise_share: float,
    n_epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    dropout: float,
) -> tuple[MistralForCausalLM, PreTrainedTokenizerFast, pd.DataFrame]:
    """Train tokenizer and model; the same arguments give the same weights on the same machine.

    Args:
        histories: user -> item ids, oldest first; what the model learns from, whole.
        validation: likewise for other users; only the losses reported are computed on them.
        seed: of weights, dropout, document cuts and order.
        vocabulary: tokens. hidden_size: width. n_layers, n_heads: depth, attention heads.
        max_tokens: longest document, random tokens not counted.
        genre_share: share of documents whose lines carry genres.
        noise_share: share of documents interrupted by random tokens.
        n_epochs: passes over all items. batch_size: documents a step.
        learning_rate: peak, reached after a twentieth of all steps, then a cosine down to a tenth.
        weight_decay: on matrices only. dropout: of attention weights.

    Returns:
        (model, tokenizer, curve): the curve has one row an epoch, `epoch`, `step`, `train_loss` (per
        token), and `loss_per_token`, `loss_per_title` with and without genres on validation users.
    """
    tokenizer = train_tokenizer(catalog, vocabulary=vocabulary)
    documents = Documents(catalog, tokenizer, max_tokens=max_tokens)
    pad, curve, step = tokenizer.pad_token_id, [], 0
    with reproducible(seed):
        model = new_model(
            tokenizer, hidden_size=hidden_size, n_layers=n_layers, n_heads=n_heads, dropout=dropout
        ).to("cuda" if torch.cuda.is_available() else "cpu")
        optimizer = _optimizer(model, weight_decay=weight_decay)
        plan = []
        for epoch in range(n_epochs):
            rng = np.random.default_rng([seed, epoch])
            cut = documents.epoch(histories, genre_share=genre_share, noise_share=noise_share, rng=rng)
            plan.append(batches(cut, batch_size=batch_size, pad=pad, rng=rng))
        n_steps = sum(map(len, plan))
        with tqdm(total=n_steps, desc="movielm", unit="step") as bar:
            for epoch, steps in enumerate(plan, start=1):
                model.train()
                losses = []
                for ids, labels in steps:
                    rate = learning_rate * _schedule(step / n_steps)
                    losses.append(_train_step(model, optimizer, ids, labels, learning_rate=rate))
                    step += 1
                    bar.update()
                row = {"epoch": epoch, "step": step, "train_loss": float(np.mean(losses))}
                for suffix, genres in (("", False), ("_genres", True)):
                    values = evaluate(
                        model, documents, validation, genres=genres, batch_size=batch_size, pad=pad
                    )
                    row |= {
                        f"{name}{suffix}": values[name] for name in ("loss_per_token", "loss_per_title")
                    }
                curve.append(row)
                bar.set_postfix(validation_per_title=f"{row['loss_per_title']:.3f}")
    return model.eval(), tokenizer, pd.DataFrame(curve)


def new_model(
    tokenizer: PreTrainedTokenizerFast, *, hidden_size: int, n_layers: int, n_heads: int, dropout: float
) -> MistralForCausalLM:
    """A Mistral model with random weights; its module names are those of the 7B model."""
    if hidden_size % (2 * n_heads):
        raise StudyError(f"hidden_size {hidden_size} must be a multiple of twice n_heads ({2 * n_heads})")
    settings = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=8 * hidden_size // 3 // 32 * 32,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=n_heads,
        max_position_embeddings=_MAX_POSITIONS,
        sliding_window=None,
        tie_word_embeddings=True,
        attention_dropout=dropout,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return MistralForCausalLM(settings)


def _optimizer(model: MistralForCausalLM, *, weight_decay: float) -> torch.optim.AdamW:
    """AdamW, which decays matrices only.

    Muon finds the next item no better (notebook 04), and takes twice as long as all the rest of a step on
    a processor without bfloat16, in which torch computes it.
    """
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    norms = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": norms, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))


def _schedule(progress: float) -> float:
    warm_up = 0.05
    if progress < warm_up:
        return progress / warm_up
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def _train_step(
    model: MistralForCausalLM,
    optimizer: torch.optim.Optimizer,
    ids: torch.Tensor,
    labels: torch.Tensor,
    *,
    learning_rate: float,
) -> float:
    """One step on the mean loss over the batch's labels, gradients clipped at norm 1."""
    loss = token_losses(model, ids, labels).sum() / (labels[:, 1:] != IGNORED).sum()
    model.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    return float(loss.detach())


def save(
    model: MistralForCausalLM, tokenizer: PreTrainedTokenizerFast, curve: pd.DataFrame, folder: Path
) -> Path:
    """Write model, tokenizer and `training_curve.csv` to `folder`, whole or not at all."""
    with files.replacing_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        files.write_csv(curve, temporary / "training_curve.csv")
    return folder


def train_stage(dataset: str, seed: int, **section) -> Path:
    """Stage `movielm`: train, save to `data/<dataset>/movielm/`, write its metrics.

    Args:
        dataset, seed: as in `params.yaml`.
        section: keys of `params.yaml`'s section `movielm`, the keywords of :func:`train`.

    Returns:
        The folder of model, tokenizer and training curve.
    """
    catalog = load_catalog(dataset)
    histories = load_earlier(dataset, "train")
    validation = load_histories(dataset, "validation")
    model, tokenizer, curve = train(histories, validation, catalog, seed=seed, **section)
    folder = save(model, tokenizer, curve, config.stage_dir(dataset, STAGE))
    last, lines = curve.iloc[-1], catalog.names.values()
    metrics = {
        "n_parameters": model.num_parameters(),
        "n_train_users": len(histories),
        "n_train_movies": int(sum(map(len, histories.values()))),
        "tokens_per_title": float(
            np.mean([len(tokenizer(f"- {name}\n")["input_ids"]) - 1 for name in lines])
        ),
        "train/loss_per_token": float(last["train_loss"]),
        **{
            f"validation/{name}": float(last[name]) for name in curve.columns if name.startswith("loss_per")
        },
    }
    evaluation.write_metrics(STAGE, metrics, dataset=dataset)
    files.write_json(section, folder / "section.json")
    return folder
