"""What the LSTM is told about an item: its words and its genres (paper sections 3 and 4.2.1).

Everything is a table with one row an item, see :class:`core.catalog.Catalog`. Row 0 is padding and no
item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import GENRE_LIST, TITLE

PADDING = 0
PAD_TOKEN, UNKNOWN_TOKEN = "[PAD]", "[UNK]"
# Keras' Tokenizer, which the paper uses, turns these into spaces; apostrophes stay inside words.
_SEPARATORS = Regex(r"[^\p{L}\p{N}']+")


@dataclass(frozen=True)
class ItemFeatures:
    """Features of a catalog of n items, as plain arrays.

    Attributes:
        tokens: shape (n + 1, title_length), integers; 0 where a title has no more words.
        genres: shape (n + 1, n_genres), 0 or 1, columns as in :attr:`core.catalog.Catalog.vocabulary`.
        words: the vocabulary; `words[i]` is the word of token i.
    """

    tokens: np.ndarray
    genres: np.ndarray
    words: tuple[str, ...]


def item_features(catalog: Catalog, *, title_vocabulary: int, title_length: int) -> ItemFeatures:
    """Features of every item of a catalog: words of titles in lower case, without punctuation, and genres.

    Args:
        title_vocabulary: most words kept, by frequency, padding (token 0) and the unknown word (1) included
            (paper: 5,000).
        title_length: words of a title that count (paper: 10).
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(_SEPARATORS, " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(
        vocab_size=title_vocabulary, special_tokens=[PAD_TOKEN, UNKNOWN_TOKEN], show_progress=False
    )
    titles = list(catalog.names.values())
    tokenizer.train_from_iterator(titles, trainer)
    tokenizer.enable_truncation(title_length)
    tokenizer.enable_padding(length=title_length, pad_id=PADDING, pad_token=PAD_TOKEN)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(titles)]
    words, genres = tokenizer.get_vocab(), genre_vectors(catalog)
    return ItemFeatures(
        tokens=np.array([[PADDING] * title_length, *encoded], dtype=np.int64),
        genres=np.vstack([np.zeros(genres.shape[1], np.float32), genres]),
        words=tuple(sorted(words, key=words.get)),
    )


def described(rows: np.ndarray, catalog: Catalog, features: ItemFeatures) -> pd.DataFrame:
    """What the network is told about some items, to be read.

    Args:
        rows: rows of the feature tables, from 1.

    Returns:
        Frame `title`, `words`, `tokens`, `genres`, one row each.
    """
    items = catalog.ids[np.asarray(rows) - 1]
    return pd.DataFrame(
        {
            TITLE: [catalog.names[item] for item in items],
            "words": [" ".join(features.words[t] for t in features.tokens[row] if t) for row in rows],
            "tokens": [features.tokens[row].tolist() for row in rows],
            GENRE_LIST: [", ".join(catalog.categories[item]) for item in items],
        }
    )


def genre_vectors(catalog: Catalog) -> np.ndarray:
    """Which item has which genre: bool, shape (n_items, n_genres), columns as the catalog's vocabulary."""
    place = {genre: column for column, genre in enumerate(catalog.vocabulary)}
    vectors = np.zeros((len(catalog), len(place)), dtype=bool)
    for row, genres in enumerate(catalog.categories.values()):
        vectors[row, [place[genre] for genre in genres]] = True
    return vectors
