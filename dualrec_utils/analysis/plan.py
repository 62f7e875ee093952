"""What the study shows: the systems of the headline table, and pairs in the order of its questions.

The pairs are shown with intervals, as a description; what is claimed stands in :mod:`analysis.claims`.
"""

from __future__ import annotations

from dualrec_utils.models.systems import rivals

# The strongest published recommenders of sequences and of items among them.
TRAINED_RIVALS = ("ease", "gru4rec", "sasrec")


def headline(model: str) -> tuple[str, ...]:
    """The systems a reader meets first: README, head of the report."""
    kinds = ("zero_shot", "lora", "lora_reranked", "lora_lstm_first", "lora_constrained")
    of_model = [f"{model}_{kind}" for kind in (*kinds, "history_constrained")]
    return ("most_popular", "item_knn", *TRAINED_RIVALS, "lstm", *of_model, "dualrec_fusion")


def by_genre(model: str, *, rival: str) -> list[str]:
    """Popularity, the best of the trained rivals, and the parts of the fusion, each once.

    Args:
        rival: that rival.
    """
    names = ["most_popular", rival, "lstm", f"{model}_history_constrained", "dualrec_fusion"]
    return list(dict.fromkeys(names))


def variants(model: str) -> list[str]:
    """The systems beside the paper's Figure 5(a): the LSTM, the stages of DUALRec, the fusion."""
    kinds = ("zero_shot", "zero_shot_reranked", "lora", "lora_reranked")
    return ["lstm", *(f"{model}_{kind}" for kind in kinds), "dualrec_fusion"]


def comparisons(model: str) -> tuple[tuple[str, str, str], ...]:
    """(question, system, other) of the pairs shown: the difference is system minus other."""
    return (
        ("Is the LSTM better than popularity?", "lstm", "most_popular"),
        *(("Is the LSTM better than this baseline?", "lstm", name) for name in rivals()),
        ("Does the LSTM's line help?", f"{model}_zero_shot", f"{model}_zero_shot_no_hint"),
        ("Does the LSTM's line help?", f"{model}_lora", f"{model}_lora_no_hint"),
        ("Do catalog-only lists help?", f"{model}_lora_constrained", f"{model}_lora"),
        ("Does fine-tuning help?", f"{model}_lora", f"{model}_zero_shot"),
        ("Do true answers teach more than others'?", f"{model}_lora", f"{model}_lora_permuted"),
        ("Does the format alone help?", f"{model}_lora_permuted", f"{model}_zero_shot"),
        ("Does re-ranking help?", f"{model}_zero_shot_reranked", f"{model}_zero_shot"),
        ("Does re-ranking help?", f"{model}_lora_reranked", f"{model}_lora"),
        ("Does the hybrid beat its LSTM?", f"{model}_lora_reranked", "lstm"),
        ("Does the hybrid beat its LSTM?", f"{model}_lora_lstm_first", "lstm"),
        *(
            ("Does the hybrid beat a trained baseline?", f"{model}_lora_reranked", name)
            for name in TRAINED_RIVALS
        ),
        ("Does fusion beat its LSTM?", "dualrec_fusion", "lstm"),
        ("Does fusion beat its language model?", "dualrec_fusion", f"{model}_history_constrained"),
        ("Does fusion beat the paper's hybrid?", "dualrec_fusion", f"{model}_lora_reranked"),
        *(("Does fusion beat this baseline?", "dualrec_fusion", name) for name in rivals()),
    )
