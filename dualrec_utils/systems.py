"""The study's systems in words: names, order and comparisons for every table and figure."""

from __future__ import annotations

from collections.abc import Iterable

# Stages whose predictions enter the results, in the order of the study.
STAGES = ("baselines", "lstm", "zero_shot_llm", "lora_finetuning", "rerank_ablation")

# Also the order of rows. `movielm` is the small language model trained in the pipeline.
LABELS = {
    "random": "Random order",
    "most_popular": "Most popular",
    "markov": "Markov chain",
    "item_knn": "Item kNN",
    "lstm": "LSTM alone (Stage 1)",
    "movielm_zero_shot_no_hint": "movielm zero-shot, no LSTM line",
    "movielm_zero_shot": "movielm zero-shot (Stage 2)",
    "movielm_zero_shot_reranked": "movielm zero-shot, re-ranked",
    "movielm_lora_permuted": "movielm LoRA, permuted answers",
    "movielm_lora_permuted_reranked": "movielm LoRA, permuted answers, re-ranked",
    "movielm_lora_no_hint": "movielm LoRA, no LSTM line",
    "movielm_lora": "movielm LoRA",
    "movielm_lora_reranked": "movielm LoRA, re-ranked (Stage 3)",
    "movielm_lora_random_order": "movielm LoRA, random order",
    "movielm_lora_lstm_first": "LSTM's movie, then movielm LoRA",
}

# The systems a reader meets first: README, head of the report.
HEADLINE = (
    "most_popular",
    "markov",
    "item_knn",
    "lstm",
    "movielm_zero_shot",
    "movielm_lora",
    "movielm_lora_reranked",
    "movielm_lora_lstm_first",
)

# (question, system, other): the difference is system minus other.
COMPARISONS = (
    ("Is the LSTM better than popularity?", "lstm", "most_popular"),
    ("Is it better than counting transitions?", "lstm", "markov"),
    ("Is it better than item neighbours?", "lstm", "item_knn"),
    ("Does the LSTM's line help?", "movielm_zero_shot", "movielm_zero_shot_no_hint"),
    ("Does the LSTM's line help?", "movielm_lora", "movielm_lora_no_hint"),
    ("Does fine-tuning help?", "movielm_lora", "movielm_zero_shot"),
    ("Is it more than format?", "movielm_lora", "movielm_lora_permuted"),
    ("Does re-ranking help?", "movielm_zero_shot_reranked", "movielm_zero_shot"),
    ("Does re-ranking help?", "movielm_lora_reranked", "movielm_lora"),
    ("Does the hybrid beat its LSTM?", "movielm_lora_reranked", "lstm"),
    ("Does the hybrid beat its LSTM?", "movielm_lora_lstm_first", "lstm"),
)


def label(system: str) -> str:
    """The system in words; a system without an entry keeps its name."""
    return LABELS.get(system, system)


def in_order(names: Iterable[str]) -> list[str]:
    """Distinct names in the order of :data:`LABELS`, unknown ones after them by name."""
    known = {name: place for place, name in enumerate(LABELS)}
    return sorted(set(names), key=lambda name: (known.get(name, len(known)), name))
