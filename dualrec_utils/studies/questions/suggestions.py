"""Does the language model correct a wrong suggestion in its prompt, or follow it?

`dualrec study questions suggestions <system>` asks a language model of notebooks 04 and 05 anew,
with the paper's prompt (section 4.2.2) and another item, or none, in the line of the LSTM's suggestion. No
target is read here: a suggestion that happens to be right is one by chance.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from dualrec_utils.analysis import breakdowns
from dualrec_utils.content.features import genre_vectors
from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import Catalog, load_catalog, title_with_year
from dualrec_utils.core.config import CASE, HISTORY, ITEM, TEXT, TITLE, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.backends.local import LocalBackend
from dualrec_utils.models.language import matching, prompts
from dualrec_utils.models.language.matching_quality import misspelt
from dualrec_utils.pipeline import params
from dualrec_utils.studies.questions.answers import ANSWER, KIND, KINDS, NONE, PROMPT
from dualrec_utils.studies.questions.settings import STAGE, last_cases, pieces_dir, read_settings

SECTION = "suggestions"
# System -> (section of params.yaml that holds its prompt and decoding, ending of its adapter).
SYSTEMS = {"zero_shot": ("zero_shot_llm", None), "lora": ("lora_finetuning", "lora")}
# The least popular share of the catalog that an unpopular suggestion is drawn from.
_UNPOPULAR = 0.25


def suggestions(
    kind: str,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    hints: pd.Series,
    counts: pd.Series,
    n_recent: int,
    seed: int,
) -> pd.DataFrame:
    """What the prompt's line says for every case.

    Args:
        kind: a key of :data:`studies.questions.answers.KINDS`. `unpopular`: drawn from the least
            popular quarter of the catalog; `other_genres`: drawn from the items with fewest genres in
            common with the recent items and the LSTM's; both not rated before. `watched`: drawn from the
            rated items that the prompt does not show (from all where it shows all). `typos`: two letters
            dropped, doubled or swapped; `corrupted`: every letter replaced, spaces and year kept;
            `invented`: the beginning of one title and the end of another, that no item of the catalog
            matches.
        cases: `case_id`, `history`.
        catalog: the items.
        hints: `case_id` -> the LSTM's item.
        counts: from :func:`analysis.breakdowns.training_counts`.
        n_recent: items of the history in the prompt.
        seed: a draw depends on it, the kind and the case alone.

    Returns:
        `case_id`, `kind`, `item_id` (the item suggested; null where the text is none) and `text`, the
        title as it stands in the prompt (null for `none`).

    Raises:
        StudyError: for an unknown kind.
    """
    if kind not in KINDS:
        raise StudyError(f"there is no kind of suggestion {kind!r}; kinds: {', '.join(KINDS)}")
    names = catalog.names
    chosen = _chooser(kind, catalog, counts=counts, n_recent=n_recent, seed=seed)
    rows = []
    for case, history in zip(cases[CASE], cases[HISTORY], strict=True):
        # Of the case's name, so that a case's draw does not depend on which cases are asked.
        rng = np.random.default_rng([seed, list(KINDS).index(kind), *case.encode()])
        suggested = None if kind == NONE else chosen(np.asarray(history), int(hints[case]), rng)
        is_item = isinstance(suggested, int)
        rows.append(
            (case, kind, suggested if is_item else None, names[suggested] if is_item else suggested)
        )
    return pd.DataFrame(rows, columns=[CASE, KIND, ITEM, TEXT]).astype({ITEM: "Int64", TEXT: object})


def _chooser(kind: str, catalog: Catalog, *, counts: pd.Series, n_recent: int, seed: int) -> Callable:
    """(history, the LSTM's item, generator) -> an item's id, or a text."""
    ids, written = catalog.ids, catalog.items.set_index(ITEM)[[TITLE, YEAR]]
    if kind == "unpopular":
        known = counts.loc[ids].to_numpy()
        rare = ids[np.argsort(known, kind="stable")[: int(len(ids) * _UNPOPULAR)]]
        return lambda history, hint, rng: int(rng.choice(np.setdiff1d(rare, history)))
    if kind == "other_genres":
        genres = genre_vectors(catalog)

        def choose(history: np.ndarray, hint: int, rng: np.random.Generator) -> int:
            near = genres[np.isin(ids, [*history[-n_recent:], hint])].any(axis=0)
            shared = (genres & near).sum(axis=1) + len(near) * np.isin(ids, [*history, hint])
            return int(rng.choice(ids[shared == shared.min()]))

        return choose
    if kind == "watched":
        return lambda history, hint, rng: int(
            rng.choice(history[:-n_recent] if len(history) > n_recent else history)
        )
    if kind == "typos":
        letters = np.random.default_rng(seed)
        twice = {
            item: title_with_year(misspelt(misspelt(title, letters), letters), year)
            for item, (title, year) in written.iterrows()
        }
        return lambda history, hint, rng: twice[hint]
    if kind == "corrupted":
        return lambda history, hint, rng: corrupted(*written.loc[hint], rng)
    if kind == "invented":
        matcher = matching.TitleMatcher(catalog.items)
        return lambda history, hint, rng: invented(catalog.items, matcher, rng)
    return lambda history, hint, rng: hint


def corrupted(title: str, year: int | None, rng: np.random.Generator) -> str:
    """A title whose letters and digits are others, all lower case; the year stays.

    Args:
        rng: draws the letters.
    """
    letters = list(string.ascii_lowercase)
    mixed = "".join(str(rng.choice(letters)) if letter.isalnum() else letter for letter in title)
    return title_with_year(mixed, year)


def invented(items: pd.DataFrame, matcher: matching.TitleMatcher, rng: np.random.Generator) -> str:
    """A title that no item of the catalog matches: the first words of one, the last of another.

    Args:
        rng: draws the two items; the year is the second one's.
    """
    split = [title.split() for title in items[TITLE]]
    while True:
        one, other = rng.integers(len(items), size=2)
        head, tail = split[one], split[other]
        words = [*head[: (len(head) + 1) // 2], *tail[len(tail) // 2 :]]
        text = title_with_year(" ".join(words), items[YEAR].iloc[other])
        if matcher.match(text) is None:
            return text


def asked_with(
    suggested: pd.DataFrame,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    hints: pd.Series,
    n_recent: int,
    n_titles: int,
) -> list[str]:
    """The paper's prompt for every case, with the suggestion's text in place of the LSTM's title.

    Args:
        suggested: of one kind, from :func:`suggestions`, a row for each row of `cases`.
        Others as :func:`models.language.prompts.build_prompts`.

    Raises:
        ValueError: when rows and cases differ.
    """
    if list(suggested[CASE]) != list(cases[CASE]):
        raise ValueError("suggestions and cases are not in the same order")
    shape = {"n_recent": n_recent, "n_titles": n_titles}
    if suggested[TEXT].isna().all():
        return prompts.build_prompts(cases, catalog, hints=None, **shape)
    names, texts = catalog.names, []
    usual = prompts.build_prompts(cases, catalog, hints=hints, **shape)
    for prompt, case, text in zip(usual, cases[CASE], suggested[TEXT], strict=True):
        line = prompts.HINT.format(title=names[hints[case]])
        texts.append(prompt.replace(line, prompts.HINT.format(title=text)))
    return texts


def ask(system: str, *, model: str, n_cases: int, kinds: Sequence[str]) -> pd.DataFrame:
    """Ask one system with every kind of suggestion, its prompt and decoding as in its notebook.

    Args:
        system: a key of :data:`SYSTEMS`.
        model: entry of the section's `models`.
        n_cases: last cases of each test user.
        kinds: of :data:`KINDS`.

    Returns:
        `case_id`, `kind`, `item_id`, `text`, `prompt`, `answer`.

    Raises:
        StudyError: for an unknown system or model.
    """
    if system not in SYSTEMS:
        raise StudyError(f"there is no system {system!r}; systems: {', '.join(SYSTEMS)}")
    section, ending = SYSTEMS[system]
    settings = params.section(section)
    if model not in settings["models"]:
        raise StudyError(
            f"{SECTION}.model is {model!r}; {section}.models has {', '.join(settings['models'])}"
        )
    dataset = settings["dataset"]
    cases, catalog = last_cases(dataset, n_cases=n_cases), load_catalog(dataset)
    hints = handoff.load_hints(Scope(dataset, STAGE, "next_item", "test"))
    counts, _ = breakdowns.training_counts(dataset)
    drawn = {"hints": hints, "counts": counts, "seed": settings["seed"]}
    backend = _backend(settings, model=model, ending=ending)
    frames = []
    for kind in kinds:
        suggested = suggestions(kind, cases, catalog, n_recent=settings["n_recent"], **drawn)
        shape = {"n_recent": settings["n_recent"], "n_titles": settings["n_titles"]}
        texts = asked_with(suggested, cases, catalog, hints=hints, **shape)
        answers = backend.answer(texts, label=f"{system}, {kind}")
        frames.append(suggested.assign(**{PROMPT: texts, ANSWER: answers}))
    return pd.concat(frames, ignore_index=True)


def _backend(settings: Mapping, *, model: str, ending: str | None) -> LocalBackend:
    entry, dataset = settings["models"][model], settings["dataset"]
    adapter = config.adapters_dir(dataset, "lora_finetuning") / f"{model}_{ending}" if ending else None
    batch = settings["generation_batch_size" if ending else "batch_size"]
    return LocalBackend(
        entry["model"],
        dataset=dataset,
        **{key: entry[key] for key in ("revision", "dtype", "quantization")},
        adapter=adapter,
        max_new_tokens=settings["max_new_tokens"],
        batch_size=batch,
        n_lines=settings["n_titles"],
    )


def run_system(system: str) -> None:
    """Ask one of :data:`SYSTEMS`, write `<system>.parquet` and print where it lies.

    Raises:
        StudyError: as :func:`ask`.
    """
    answered = ask(system, **read_settings(SECTION))
    print(files.write_parquet(answered, pieces_dir(SECTION) / f"{system}.parquet"), flush=True)
