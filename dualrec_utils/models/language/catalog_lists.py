"""Lists of real items, for all cases of a stage: searched over the catalog's titles, and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.core import files, predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.language import batches, constrained
from dualrec_utils.models.language.answers import PromptSet

# Tokens times titles that one pass through a model may hold.
_LARGEST_PASS = 2**20


def rank_catalog(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt_sets: Iterable[PromptSet],
    catalog: Catalog,
    system: str,
    *,
    genres: bool,
    k: int,
    method: str,
    width: int,
    seed: int,
) -> dict[Scope, np.ndarray]:
    """Write the k items of highest title score for every prompt.

    Headline lists leave out the items of the history; on test cases the lists that may hold them are
    written too (`<system>_seen_kept`).

    Args:
        prompt_sets: from :func:`models.language.answers.pose` or `pose_histories`.
        system: its name in files, such as `movielm_zero_shot_constrained`.
        genres, k, method, width: as :func:`models.language.constrained.rank_titles`.
        seed: written into the predictions.

    Returns:
        Scope -> title scores of the headline search, as `rank_titles` gives them.

    Raises:
        StudyError: as `rank_titles`.
    """
    searching = {"genres": genres, "k": k, "method": method, "width": width}
    headline = {}
    for posed in prompt_sets:
        for suffix in ("", predictions.SEEN_KEPT) if posed.scope.split == "test" else ("",):
            excluded = None if suffix else constrained.seen_items(posed.cases)
            label = f"{system}{suffix} {posed.scope.label}"
            scores = constrained.rank_titles(
                model,
                tokenizer,
                posed.texts,
                catalog,
                excluded=excluded,
                label=label,
                kept=batches.folder_of(posed.scope),
                **searching,
            )
            lists = constrained.ranked_lists(
                scores, posed.cases, catalog, seed=seed, exclude_seen=False, length=k
            )
            predictions.write(lists, system + suffix, posed.scope)
            if not suffix:
                headline[posed.scope] = scores
    return headline


def score_for_fusion(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    histories: Iterable[PromptSet],
    ranked: Mapping[Scope, np.ndarray],
    catalog: Catalog,
    name: str,
    *,
    n_candidates: int,
    seed: int,
) -> None:
    """Write a model's title scores of its own lists and of the LSTM's best items together.

    Args:
        histories: prompts from :func:`models.language.answers.pose_histories`.
        ranked: from :func:`rank_catalog` on the same prompts.
        name: the model's in `params.yaml`; :func:`models.handoff.load_title_scores` reads by it.
        n_candidates, seed: as :func:`models.handoff.candidates_of`.

    Raises:
        StudyError: as :func:`models.language.constrained.score_titles`, or without the LSTM's scores.
    """
    # A large vocabulary leaves memory for fewer titles at once.
    titles_at_once = min(64, _LARGEST_PASS // len(tokenizer))
    for posed in histories:
        scope, cases = posed.scope, posed.cases
        candidates = handoff.candidates_of(
            handoff.load_scores(handoff.LSTM, scope), cases, catalog, n_candidates=n_candidates, seed=seed
        )
        scores = constrained.score_titles(
            model,
            tokenizer,
            posed.texts,
            catalog,
            candidates=candidates,
            titles_at_once=titles_at_once,
            label=f"{name} scores {scope.label}",
            kept=batches.folder_of(scope),
        )
        frame = constrained.score_frame(np.fmax(scores, ranked[scope]), cases, catalog)
        files.write_parquet(frame, handoff.title_scores_path(name, scope))
