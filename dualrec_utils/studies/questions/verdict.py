"""The answers to the digest's questions in words, each a few lines, every number from the flat metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dualrec_utils.analysis import verdict
from dualrec_utils.models import systems
from dualrec_utils.studies.questions import rerank as reranking
from dualrec_utils.studies.questions.settings import STAGE

Flat = Mapping[str, float]


# The kinds of suggestion that are items of the catalog, and wrong on purpose.
_WRONG_ITEMS = ("unpopular", "other_genres", "watched")
# What the difference in rightly spelt titles says, after two typos against no line at all.
_CORRECTION = {
    "higher": "corrects typos",
    "lower": "does not correct typos but names the right title less often than without the line",
    verdict.NOT_SHOWN: "does not correct typos measurably: correction is not shown",
}
# More names than this are counted and not listed; the tables have all of them.
_LISTED = 3


def in_words(keys: Mapping[str, str], flat: Flat) -> str:
    """Differences that are shown, and the others: `A −2.1 points [...]; no difference shown: B`.

    Args:
        keys: name -> key of a difference in `flat`, at least one.
    """
    sure = [name for name, key in keys.items() if verdict.reading(flat, key) != verdict.NOT_SHOWN]
    rest = [name for name in keys if name not in sure]
    parts = [f"{name} {verdict.points(flat, keys[name])}" for name in sure]
    if rest:
        listed = ", ".join(rest) if len(rest) <= _LISTED else f"the other {len(rest)}"
        parts.append(f"{verdict.NOT_SHOWN}: {listed if sure or len(rest) <= _LISTED else 'any'}")
    return "; ".join(parts)


def lstm(flat: Flat, table: pd.DataFrame, *, not_run: Sequence[str] = ()) -> list[str]:
    """How much learning rate, optimizer, batch size and the choice of targets matter, on validation users.

    Args:
        table: from :func:`studies.questions.tables.lstm_table`, the default first.
        not_run: settings that are missing from it.
    """
    usual = f"{STAGE}/lstm/{table['setting'].iloc[0]}"
    sentences = [
        "The default setting has HR@5"
        f" {verdict.percent(flat, f'{usual}/hit_rate@5')} on validation users and a loss of"
        f" {flat[f'{usual}/loss']:.3f} nats on windows."
    ]
    columns = {"learning rate": "learning_rate", "optimizer": "optimizer", "batch size": "batch_size"}
    matters = {}
    for factor, column in columns.items():
        rows = table[table["factor"] == factor]
        if not len(rows):
            continue
        keys = {
            _value(row[column]): f"{STAGE}/lstm/{row['setting']}/difference/hit_rate@5"
            for row in rows.to_dict("records")
        }
        matters[factor] = any(verdict.reading(flat, key) != verdict.NOT_SHOWN for key in keys.values())
        losses = " to ".join(f"{loss:.3f}" for loss in sorted({rows["loss"].min(), rows["loss"].max()}))
        sentences.append(f"Another {factor}, HR@5: {in_words(keys, flat)}; loss {losses}.")
    for row in table[table["factor"] == "targets"].to_dict("records"):
        key = f"{STAGE}/lstm/{row['setting']}/difference/hit_rate@5"
        difference = in_words({"one target a window": key}, flat)
        sentences.append(
            f"The paper's targets instead of one at every position, HR@5: {difference};"
            f" loss {row['loss']:.3f}."
        )
    shown = [factor for factor, sensitive in matters.items() if sensitive]
    others = [factor for factor, sensitive in matters.items() if not sensitive]
    first = f"Sensitive to {' and '.join(shown) or 'none of the three'}"
    sentences.insert(0, first + (f"; not shown for {' and '.join(others)}." if others else "."))
    sentences += [f"Not run yet: {', '.join(not_run)}."] if not_run else []
    return sentences


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _key(system: str, group: str, what: str, metric: str) -> str:
    key = f"{STAGE}/rerank/{system}/{group}/{reranking.RERANKED} - {what}/{metric}"
    return key.replace(",", "").replace(" ", "_")


def rerank(flat: Flat, names: Sequence[str]) -> list[str]:
    """What re-ranking changes when the suggestion is wrong, and when it is right.

    Args:
        names: systems whose lists were re-ranked.
    """
    wrong = {reranking.ALIKE: "a genre in common", reranking.UNLIKE: "none in common"}
    sizes = {
        group: flat.get(f"{STAGE}/rerank/{names[0]}/{group}/n_cases".replace(",", "").replace(" ", "_"), 0)
        for group in (*wrong, reranking.RIGHT)
    }
    share = 1 - sizes[reranking.RIGHT] / sum(sizes.values())
    sentences, helped = [], []
    for what, words in ((reranking.WRITTEN, "the written order"), (reranking.RANDOM, "a random one")):
        keys = {
            f"{systems.label(name)}, {genres}": _key(name, group, what, "hit_rate@1")
            for name in names
            for group, genres in wrong.items()
        }
        keys = {name: key for name, key in keys.items() if key in flat}
        helped += [name for name, key in keys.items() if verdict.reading(flat, key) == "higher"]
        sentences.append(f"HR@1 there, against {words}: {in_words(keys, flat)}.")
    sentences.insert(
        0,
        f"The suggestion is wrong in {share:.0%} of {sum(sizes.values()):,} cases, and re-ranking towards"
        f" it then {'helps some lists' if helped else 'helps no kind of list'}.",
    )
    for group, metric, words in (
        (reranking.RIGHT, "hit_rate@1", "Where the suggestion is right, HR@1 changes by"),
        (reranking.ALIKE, "genre_jaccard", "Genre Jaccard of the first title, suggestion wrong but alike"),
        (reranking.UNLIKE, "genre_jaccard", "The same, suggestion wrong and unlike"),
    ):
        keys = {systems.label(name): _key(name, group, reranking.WRITTEN, metric) for name in names}
        keys = {name: key for name, key in keys.items() if key in flat}
        if keys:
            sentences.append(f"{words}: {in_words(keys, flat)}.")
    return sentences


def suggestions(flat: Flat, names: Sequence[str], kinds: Mapping[str, str]) -> list[str]:
    """Whether a language model copies, corrects or passes over what its prompt suggests.

    Args:
        names: systems asked.
        kinds: kind -> words, the first being the prompt as is.
    """
    usual, sentences = next(iter(kinds)), []
    for name in names:
        about = f"{STAGE}/suggestions/{name}"
        named = {kind: verdict.percent(flat, f"{about}/{kind}/copied") for kind in kinds}
        most = max(
            (kind for kind in kinds if kind not in (usual, "none")),
            key=lambda kind: flat[f"{about}/{kind}/copied"],
        )
        follows = verdict.reading(flat, f"{about}/{usual}/difference/copied")
        corrects = verdict.reading(flat, f"{about}/typos/difference/corrected")
        drawn = [
            kind
            for kind in _WRONG_ITEMS
            if verdict.reading(flat, f"{about}/{kind}/difference/near") == "higher"
        ]
        sentences += [
            f"{systems.label(name)} {_CORRECTION[corrects]}; its titles"
            f" {_towards([kinds[kind] for kind in drawn])}."
            f" It names the LSTM's movie in {named[usual]} of its answers, without being told of it in"
            f" {named['none']} ({follows} with the line), another suggestion in at most {named[most]}"
            f" ({kinds[most]}), and the right title after two typos in"
            f" {verdict.percent(flat, f'{about}/typos/corrected')}.",
        ]
        keys = {kinds[kind]: f"{about}/{kind}/difference/near" for kind in (usual, *_WRONG_ITEMS)}
        sentences.append(
            f"Genre Jaccard with the suggestion, against the answer without one: {in_words(keys, flat)}."
        )
        keys = {
            words: f"{about}/{kind}/difference/hit_rate@5" for kind, words in kinds.items() if kind != usual
        }
        sentences.append(f"HR@5 against the prompt as is: {in_words(keys, flat)}.")
    return sentences


def _towards(drawn: Sequence[str]) -> str:
    """Of how many kinds of wrong item the genres draw an answer's titles, and of which."""
    if not drawn:
        return "are not shown to move towards the genres of a wrong movie"
    among = f"{len(drawn)} of {len(_WRONG_ITEMS)} kinds of wrong movie"
    return f"move towards the genres of {among} ({', '.join(drawn)})"


def _smallest(flat: Flat, table: pd.DataFrame, *, default: str) -> str:
    """The smallest size that HR@5 with neither prompt tells apart from the default."""
    weights = table.set_index("size")["n_parameters"].sort_values()
    usual = f"the default ({default}, {weights[default]:,.0f} weights)"
    for size in weights.index.drop(default):
        about = f"{STAGE}/sizes/{size}/difference"
        keys = [f"{about}/{prompt}/hit_rate@5" for prompt in ("history", "zero_shot")]
        if all(verdict.reading(flat, key) == verdict.NOT_SHOWN for key in keys):
            history, prompt = (verdict.points(flat, key) for key in keys)
            return (
                f"The smallest size that is not shown to be worse or better than {usual} is {size}"
                f" ({weights[size]:,.0f}): HR@5 {history} after the history alone, {prompt} with the"
                " paper's prompt."
            )
    return f"Every other size is shown to differ from {usual} in HR@5."


def sizes(flat: Flat, table: pd.DataFrame, *, default: str, not_run: Mapping[str, str]) -> list[str]:
    """What a smaller model loses, and what was not run.

    Args:
        table: from :func:`studies.questions.tables.sizes_table`.
        default: the size the others are held against.
        not_run: model -> reason.
    """
    losses = [f"{row['size']} {row['loss_per_title']:.3f}" for row in table.to_dict("records")]
    smaller = [size for size in table["size"] if size != default]
    sentences = [_smallest(flat, table, default=default)] if smaller else []
    sentences += [f"Loss in nats a title on validation users, width x layers: {', '.join(losses)}."]
    prompts = (("history", "after the history alone"), ("zero_shot", "with the paper's prompt"))
    for prompt, words in prompts if smaller else ():
        keys = {size: f"{STAGE}/sizes/{size}/difference/{prompt}/hit_rate@5" for size in smaller}
        sentences.append(f"HR@5 {words}, against {default}: {in_words(keys, flat)}.")
    sentences += [f"{name}: not run, {why}." for name, why in not_run.items()]
    return sentences
