"""The answers to the digest's questions in words, every number of them from the flat metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dualrec_utils import questions_rerank as reranking
from dualrec_utils import systems, verdict
from dualrec_utils.questions import STAGE

Flat = Mapping[str, float]


def told_apart(keys: Mapping[str, str], flat: Flat) -> str:
    """Differences told apart from zero, and the others: `A −2.1 points [...]; not told apart: B`.

    Args:
        keys: name -> key of a difference in `flat`.
    """
    sure = [name for name, key in keys.items() if not verdict.reading(flat, key).startswith("not")]
    rest = [name for name in keys if name not in sure]
    parts = [f"{name} {verdict.points(flat, keys[name])}" for name in sure]
    parts += [f"not told apart: {', '.join(rest)}"] if rest else []
    return "; ".join(parts)


def lstm(flat: Flat, table: pd.DataFrame) -> str:
    """How much learning rate, optimizer and batch size matter, on validation users.

    Args:
        table: from :func:`dualrec_utils.questions_tables.lstm_table`, the default first.
    """
    usual = f"{STAGE}/lstm/{table['setting'].iloc[0]}"
    sentences = [
        "With the default setting HR@5 on validation users is"
        f" {verdict.percent(flat, f'{usual}/hit_rate@5')}, the loss on windows {flat[f'{usual}/loss']:.3f}."
    ]
    columns = {"learning rate": "learning_rate", "optimizer": "optimizer", "batch size": "batch_size"}
    for factor, column in columns.items():
        own = table[table["factor"] == factor]
        if not len(own):
            continue
        keys = {
            _value(row[column]): f"{STAGE}/lstm/{row['setting']}/difference/hit_rate@5"
            for row in own.to_dict("records")
        }
        losses = own["loss"]
        sentences.append(
            f"Another {factor} changes HR@5 by: {told_apart(keys, flat)}; the loss is {losses.min():.3f} to"
            f" {losses.max():.3f}."
        )
    return " ".join(sentences)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def rerank(flat: Flat, names: Sequence[str], *, metric: str = "hit_rate@1") -> str:
    """What re-ranking changes when the suggestion is right and when it is wrong.

    Args:
        names: systems whose lists were re-ranked.
    """
    sentences = []
    for name in names:
        about = f"{STAGE}/rerank/{name}"
        keys = {}
        for group, words in reranking.GROUPS.items():
            key = f"{about}/{group}/{reranking.RERANKED} - {reranking.WRITTEN}/{metric}".replace(",", "")
            if (key := key.replace(" ", "_")) in flat:
                keys[f"where it is {words}" if group != reranking.ALL else "over all cases"] = key
        sentences.append(f"{systems.label(name)}, HR@1 re-ranked minus as written: {_signed(keys, flat)}.")
    return " ".join(sentences).replace("where it is the suggestion is", "where the suggestion is")


def _signed(keys: Mapping[str, str], flat: Flat) -> str:
    return "; ".join(f"{name} {verdict.points(flat, key)}" for name, key in keys.items())


def suggestions(flat: Flat, names: Sequence[str], kinds: Mapping[str, str]) -> str:
    """Whether a language model copies, corrects or passes over what its prompt suggests.

    Args:
        names: systems asked.
        kinds: kind -> words, the first being the prompt as is.
    """
    sentences = []
    for name in names:
        about, usual = f"{STAGE}/suggestions/{name}", next(iter(kinds))
        given = {words: f"{about}/{kind}" for kind, words in kinds.items() if kind != "none"}
        copied = [f"{words} {verdict.percent(flat, f'{key}/copied')}" for words, key in given.items()]
        sentences.append(f"{systems.label(name)} names what was suggested: {'; '.join(copied)}.")
        fixed = verdict.percent(flat, f"{about}/typos/corrected")
        anyway = verdict.percent(flat, f"{about}/none/corrected")
        sentences.append(
            f"After typos it writes the right title in {fixed} of its answers, without any suggestion in"
            f" {anyway}."
        )
        keys = {words: f"{key}/difference/near" for words, key in given.items()}
        sentences.append(
            "Genre Jaccard of its titles with what was suggested, minus that of its answer without a"
            f" suggestion: {told_apart(keys, flat)}."
        )
        keys = {
            words: f"{about}/{kind}/difference/hit_rate@5" for kind, words in kinds.items() if kind != usual
        }
        sentences.append(f"HR@5 against the prompt as is: {told_apart(keys, flat)}.")
    return " ".join(sentences)


def sizes(flat: Flat, table: pd.DataFrame, *, default: str, not_run: Mapping[str, str]) -> str:
    """What a smaller model loses, and what was not run.

    Args:
        table: from :func:`dualrec_utils.questions_tables.sizes_table`.
        default: the size the others are held against.
        not_run: model -> reason.
    """
    losses = [f"{row['size']} {row['loss_per_title']:.3f}" for row in table.to_dict("records")]
    smaller = [size for size in table["size"] if size != default]
    sentences = [f"Loss in nats a title on validation users, width x layers: {', '.join(losses)}."]
    for prompt, words in (("history", "after the history alone"), ("zero_shot", "with the paper's prompt")):
        keys = {size: f"{STAGE}/sizes/{size}/difference/{prompt}/hit_rate@5" for size in smaller}
        sentences.append(f"HR@5 {words}, against {default}: {told_apart(keys, flat)}.")
    sentences += [f"{name}: not run, {why}." for name, why in not_run.items()]
    return " ".join(sentences)
