"""What the study found, in sentences built from the metrics: one text for notebook, page and README."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dualrec_utils import systems

ORDER_CAVEAT = (
    "MovieLens records when a movie was rated, not when it was watched: rating order stands in for"
    " viewing order throughout."
)
_MOVIELM_CAVEAT = (
    "The language model of this profile, movielm, is a small one trained here on titles alone. It runs"
    " the code that the paper's models run, but it has no world knowledge: its rows say how the method"
    " works on it, not how Mistral 7B or DeepSeek V3 would do."
)
PROTOCOL_CAVEAT = (
    "The paper uses MovieLens 1M, does not state its ground truth, and copies its baselines' values from"
    " Xu et al. (2025), measured under another protocol: values of paper and study stand side by side"
    " for orientation, not for a contest."
)

_MODELS = {"movielm": "a small model trained here (movielm)"}
DATASETS = {"ml-100k": "MovieLens 100K", "ml-1m": "MovieLens 1M"}


def model_of(flat: Mapping[str, float]) -> str:
    """Name of the language model that the verdict speaks of."""
    return str(flat.get("language_model", systems.main_model([])))


def caveats(flat: Mapping[str, float]) -> list[str]:
    """What must be said beside any number: the language model's standing, and what "order" means."""
    return [*([_MOVIELM_CAVEAT] if model_of(flat) == "movielm" else []), ORDER_CAVEAT]


def percent(flat: Mapping[str, float], key: str) -> str:
    """A share with its interval: `8.6% [7.0, 10.3]`."""
    return f"{flat[key]:.1%} [{100 * flat[f'{key}/low']:.1f}, {100 * flat[f'{key}/high']:.1f}]"


def points(flat: Mapping[str, float], key: str) -> str:
    """A difference of shares in percentage points, signed, with its interval: `+2.1 points [0.9, 3.4]`."""
    low, high = 100 * flat[f"{key}/low"], 100 * flat[f"{key}/high"]
    return f"{100 * flat[key]:+.1f} points [{low:+.1f}, {high:+.1f}]"


def reading(flat: Mapping[str, float], key: str) -> str:
    """What an interval of a difference says: `higher`, `lower` or `not told apart from zero`."""
    if flat[f"{key}/low"] > 0:
        return "higher"
    if flat[f"{key}/high"] < 0:
        return "lower"
    return "not told apart from zero"


def claims(flat: Mapping[str, float], *, protocol: str = "next_item") -> list[dict[str, str]]:
    """The questions a reader comes with, each answered by one paired difference.

    HR@1 where a side is a list of three titles, HR@5 between full rankings.

    Returns:
        Rows of `question`, `answer` (`yes`, `no: worse`, `cannot be told`, `not run`; with `, not when
        corrected` where Holm's correction, made for HR@5, undoes it), `compared` (system minus
        system, metric), `difference` (points with interval, empty where not run).
    """
    model = model_of(flat)
    rows = [
        ("Does the order of a user's movies predict the next one?", "lstm", "most_popular", "hit_rate@5"),
        (
            "Does the LSTM's suggestion help the language model?",
            f"{model}_zero_shot", f"{model}_zero_shot_no_hint", "hit_rate@1",
        ),
        ("Does fine-tuning help?", f"{model}_lora", f"{model}_zero_shot", "hit_rate@1"),
        (
            "Does fine-tuning teach more than the format?",
            f"{model}_lora", f"{model}_lora_permuted", "hit_rate@1",
        ),
        ("Does re-ranking help?", f"{model}_lora_reranked", f"{model}_lora", "hit_rate@1"),
        ("Do the paper's three stages beat their LSTM?", f"{model}_lora_reranked", "lstm", "hit_rate@1"),
        ("Does fusing both models' scores (ours) beat the LSTM?", "dualrec_fusion", "lstm", "hit_rate@5"),
    ]  # fmt: skip
    if best := best_rival(flat, protocol=protocol):
        rows.append(
            (
                "Does the fusion beat the best baseline?",
                "dualrec_fusion",
                best,
                "hit_rate@5",
            )
        )
    answers = {"higher": "yes", "lower": "no: worse", "not told apart from zero": "cannot be told"}
    found = []
    for question, system, other, metric in rows:
        key = f"{protocol}/difference/{system}-{other}/{metric}"
        # Labels without their remarks in brackets, which the reader meets further down.
        names = [re.sub(r" \(.*?\)", "", systems.label(name)) for name in (system, other)]
        sides = f"{' minus '.join(names)}, {metric.replace('hit_rate', 'HR')}"
        answer = answers[reading(flat, key)] if key in flat else "not run"
        found.append(
            {
                "question": question,
                "answer": f"{answer}, not when corrected" if _corrected(flat, key) else answer,
                "compared": sides,
                "difference": points(flat, key) if key in flat else "",
            }
        )
    return found


def _corrected(flat: Mapping[str, float], key: str) -> bool:
    """Whether the correction for many comparisons undoes what a difference's interval says.

    The level of the tests is that of the intervals; an untested difference is not undone.
    """
    level = 1 - flat.get("confidence", 0.95)
    return flat.get(f"{key}/p_holm", 0.0) >= level and reading(flat, key) != "not told apart from zero"


def best_rival(flat: Mapping[str, float], *, protocol: str = "next_item") -> str:
    """The baseline with the highest HR@5 among those the fusion was compared with; empty without any."""
    values = {
        name: flat[f"{protocol}/{name}/hit_rate@5"]
        for name in systems.rivals()
        if f"{protocol}/difference/dualrec_fusion-{name}/hit_rate@5" in flat
    }
    return max(values, key=values.get, default="")


def summary(flat: Mapping[str, float], *, protocol: str = "next_item") -> str:
    """The verdict in one sentence; empty where the LSTM was not run."""
    model = model_of(flat)
    told = {
        "higher": "better than",
        "lower": "worse than",
        "not told apart from zero": "not told apart from",
    }

    def words(system: str, other: str, metric: str) -> str:
        key = f"{protocol}/difference/{system}-{other}/{metric}"
        if key not in flat:
            return "not compared with"
        return ("before correction for many comparisons " if _corrected(flat, key) else "") + told[
            reading(flat, key)
        ]

    if f"{protocol}/lstm/hit_rate@5" not in flat:
        return ""
    parts = [
        f"the LSTM alone is {words('lstm', 'most_popular', 'hit_rate@5')} popularity",
        f"the paper's three stages, with {_MODELS.get(model, model)} as the language model, are"
        f" {words(f'{model}_lora_reranked', 'lstm', 'hit_rate@1')} that LSTM",
        "fusing both models' scores, this study's own proposal, is"
        f" {words('dualrec_fusion', 'lstm', 'hit_rate@5')} it",
    ]
    if best := best_rival(flat, protocol=protocol):
        against = words("dualrec_fusion", best, "hit_rate@5")
        parts[-1] += f", and {against} the best baseline, {systems.label(best)}"
    return f"On {DATASETS.get(flat['dataset'], flat['dataset'])}, {'; '.join(parts)}."


def stage_1(flat: Mapping[str, float], *, protocol: str = "next_item") -> str:
    """One sentence: the LSTM against the most popular movies on HR@5."""
    difference = f"{protocol}/difference/lstm-most_popular/hit_rate@5"
    if difference not in flat:
        return "The LSTM and its popularity baseline were not both run."
    sides = {"higher": "above", "lower": "below", "not told apart from zero": "on both sides of"}
    lstm, popular = f"{protocol}/lstm/hit_rate@5", f"{protocol}/most_popular/hit_rate@5"
    return (
        f"The LSTM has the next movie among its first five in {percent(flat, lstm)} of"
        f" {flat[f'{protocol}/lstm/n_cases']:,} cases, the most popular movies in"
        f" {percent(flat, popular)}: a difference of {points(flat, difference)}, an interval"
        f" {sides[reading(flat, difference)]} zero."
    )


def rivals(flat: Mapping[str, float], *, protocol: str = "next_item") -> str:
    """One sentence: the LSTM against the best baseline on HR@5, empty where none was run."""
    keys = {name: f"{protocol}/difference/lstm-{name}/hit_rate@5" for name in systems.rivals()}
    values = {name: flat[f"{protocol}/{name}/hit_rate@5"] for name, key in keys.items() if key in flat}
    if not values:
        return ""
    best = max(values, key=values.get)
    told = {
        "higher": "the LSTM is better",
        "lower": "the LSTM is worse",
        "not told apart from zero": "the two cannot be told apart",
    }
    return (
        f"The best of the baselines, {systems.label(best)}, reaches"
        f" {percent(flat, f'{protocol}/{best}/hit_rate@5')}; LSTM minus that is"
        f" {points(flat, keys[best])}: {told[reading(flat, keys[best])]}."
    )


def headline(flat: Mapping[str, float]) -> list[str]:
    """The verdict in up to four sentences, under `next_item`."""
    return [line for line in (stage_1(flat), rivals(flat), hybrid(flat), fusion(flat)) if line]


def hybrid(flat: Mapping[str, float], *, protocol: str = "next_item") -> str:
    """One sentence: the paper's three stages against the LSTM alone, on HR@1."""
    model = model_of(flat)
    difference = f"{protocol}/difference/{model}_lora_reranked-lstm/hit_rate@1"
    if difference not in flat:
        return "The three stages together were not run."
    whole, alone = f"{protocol}/{model}_lora_reranked/hit_rate@1", f"{protocol}/lstm/hit_rate@1"
    told = {
        "higher": "the language model adds to its LSTM",
        "lower": "the language model takes away from its LSTM",
        "not told apart from zero": "whether the language model adds to its LSTM cannot be told",
    }
    return (
        f"The paper's three stages on {model} put the next movie first in {percent(flat, whole)}, the"
        f" LSTM alone in {percent(flat, alone)} ({points(flat, difference)}):"
        f" {told[reading(flat, difference)]}."
    )


def fusion(flat: Mapping[str, float], *, protocol: str = "next_item") -> str:
    """One sentence: the study's fusion on HR@5 against its two parts and the trained baselines that ran.

    Empty where the fusion or a part was not run.
    """
    parts = {"the LSTM": "lstm", "its language model": f"{model_of(flat)}_history_constrained"}
    keys = {
        words: f"{protocol}/difference/dualrec_fusion-{part}/hit_rate@5" for words, part in parts.items()
    }
    if not set(keys.values()) <= flat.keys():
        return ""
    best = best_rival(flat, protocol=protocol)
    for name in dict.fromkeys([*systems.TRAINED_RIVALS, *([best] if best else [])]):
        if (key := f"{protocol}/difference/dualrec_fusion-{name}/hit_rate@5") in flat:
            keys[systems.label(name)] = key
    told = "; ".join(
        f"minus {words} {points(flat, key)}, {reading(flat, key)}" for words, key in keys.items()
    )
    return (
        "Fusing the scores of LSTM and language model, this study's own proposal, reaches"
        f" {percent(flat, f'{protocol}/dualrec_fusion/hit_rate@5')} on HR@5: {told}."
    )


def comparisons(flat: Mapping[str, float], *, protocol: str = "next_item") -> list[str]:
    """One sentence a comparison of :func:`dualrec_utils.systems.comparisons` that was run.

    HR@5 where the systems' lists differ; HR@1 where re-ranking reorders one list of three, which
    cannot move HR@5.
    """
    lines = []
    for question, system, other in systems.comparisons(model_of(flat)):
        metric = "hit_rate@1" if system.endswith("_reranked") else "hit_rate@5"
        key = f"{protocol}/difference/{system}-{other}/{metric}"
        if key in flat:
            names = f"{systems.label(system)} minus {systems.label(other)}"
            short = metric.replace("hit_rate", "HR")
            lines.append(f"{question} {names}, {short}: {points(flat, key)}, {reading(flat, key)}.")
    return lines
