"""The study's systems in words: names, order and comparisons for every table and figure.

A language model's systems are named `<model>_<kind>`, such as `movielm_lora_reranked`; `<model>` is the
model's name in `params.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable

# Stages whose predictions enter the results, in the order of the study.
STAGES = ("baselines", "lstm", "zero_shot_llm", "lora_finetuning", "rerank_ablation")

# Baselines: module and class in models/baselines/, name for readers; also the order of rows.
BASELINES = {
    "random": ("random_order.RandomOrder", "Random order"),
    "most_popular": ("most_popular.MostPopular", "Most popular"),
    "markov": ("markov.Markov", "Markov chain"),
    "item_knn": ("item_knn.ItemKNN", "Item kNN"),
    "sknn": ("sknn.SKNN", "SKNN"),
    "vsknn": ("sknn.VSKNN", "V-SKNN"),
    "slim": ("slim.SLIM", "SLIM"),
    "ease": ("ease.EASE", "EASE-R"),
    "fpmc": ("fpmc.FPMC", "FPMC"),
    "gru4rec": ("gru4rec.GRU4Rec", "GRU4Rec"),
    "sasrec": ("sasrec.SASRec", "SASRec"),
    "bert4rec": ("bert4rec.BERT4Rec", "BERT4Rec"),
    "narm": ("narm.NARM", "NARM"),
    "stamp": ("stamp.STAMP", "STAMP"),
    "gce_gnn": ("gce_gnn.GCEGNN", "GCE-GNN"),
    "mcprn": ("mcprn.MCPRN", "MCPRN"),
    "hide": ("hide.HIDE", "HIDE"),
    "atten_mixer": ("atten_mixer.AttenMixer", "Atten-Mixer"),
    "unisrec": ("unisrec.UniSRec", "UniSRec"),
    "lstm_tuned": ("lstm_tuned.TunedLSTM", "The paper's LSTM, tuned"),
}
# Baselines whose answer is the same whatever the order of the items they read. Some read the last items
# only, as a set: which these are is all that order can change.
ORDER_FREE = ("random", "most_popular", "item_knn", "sknn", "slim", "ease")
# Models of which the best on validation users says what order is worth.
ORDER_AWARE = (*(name for name in BASELINES if name not in ORDER_FREE), "lstm")
# Systems without a language model's name; also the order of rows, those of language models between.
_BEFORE = {name: words for name, (_, words) in BASELINES.items()} | {"lstm": "LSTM alone (Stage 1)"}
_AFTER = {
    "dualrec_fusion": "LSTM and language model fused (ours)",
    "dualrec_fusion_mmr": "fused, diversified by MMR",
    "dualrec_fusion_genres": "fused, diversified by genres",
    "fusion_lstm_lstm_again": "LSTM and a second LSTM fused",
    "fusion_lstm_gru4rec": "LSTM and GRU4Rec fused",
    "fusion_lstm_ease": "LSTM and EASE-R fused",
}
# Kinds of a language model's systems, in the order of rows.
_KINDS = {
    "zero_shot_no_hint": "zero-shot, no LSTM line",
    "zero_shot": "zero-shot (Stage 2)",
    "zero_shot_reranked": "zero-shot, re-ranked",
    "zero_shot_constrained": "zero-shot, catalog only",
    "history_constrained": "history only, catalog only",
    "lora_permuted": "LoRA, permuted answers",
    "lora_permuted_reranked": "LoRA, permuted answers, re-ranked",
    "lora_no_hint": "LoRA, no LSTM line",
    "lora": "LoRA",
    "lora_reranked": "LoRA, re-ranked (Stage 3)",
    "lora_random_order": "LoRA, random order",
    "lora_constrained": "LoRA, catalog only",
    "lora_lstm_first": "LoRA after the LSTM's movie",
}


def split(system: str) -> tuple[str, str]:
    """A language model's system as (model, kind); both empty for any other system.

    >>> split("movielm_lora_reranked")
    ('movielm', 'lora_reranked')
    """
    kinds = [kind for kind in _KINDS if system.endswith(f"_{kind}")]
    kind = max(kinds, key=len, default="")
    return (system.removesuffix(f"_{kind}"), kind) if kind else ("", "")


def main_model(names: Iterable[str]) -> str:
    """The language model that a run's verdict speaks of: the one that went through all three stages.

    Notebook 05 trains the control on permuted answers for its first model alone; further models, added
    for a comparison of sizes, get the paper's adapter and nothing to compare it with.

    Args:
        names: systems with predictions; without a control the first model by name of Stage 3 is meant,
            without one of Stage 3 the first of all, and without any language model the one that every
            profile trains.
    """
    parts = sorted(map(split, names))
    whole = [model for model, kind in parts if kind == "lora_reranked"]
    controlled = [model for model in whole if (model, "lora_permuted") in parts]
    return next(iter([*controlled, *whole, *(model for model, kind in parts if kind), "movielm"]))


def label(system: str) -> str:
    """The system in words; one that is not known here keeps its name."""
    model, kind = split(system)
    return f"{model} {_KINDS[kind]}" if kind else (_BEFORE | _AFTER).get(system, system)


def in_order(names: Iterable[str]) -> list[str]:
    """Distinct names in the study's order: baselines, LSTM, language models one by one, fusions, others."""
    before, kinds, after = list(_BEFORE), list(_KINDS), list(_AFTER)

    def place(name: str) -> tuple:
        model, kind = split(name)
        if kind:
            return (1, model, kinds.index(kind))
        for part, known in ((0, before), (2, after)):
            if name in known:
                return (part, "", known.index(name))
        return (3, name, 0)

    return sorted(set(names), key=place)


def expected(model: str) -> list[str]:
    """Every system of a full run whose main language model is `model`, in order."""
    return [*_BEFORE, *(f"{model}_{kind}" for kind in _KINDS), *_AFTER]


def rivals() -> list[str]:
    """Baselines that look at the history: those that a sequence model should beat."""
    return [name for name in BASELINES if name not in ("random", "most_popular")]
