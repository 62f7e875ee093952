"""The text that UniSRec reads, through the real sentence encoder."""

import numpy as np
import pandas as pd

from dualrec_utils.models.baselines.unisrec import text_vectors


def test_texts_are_embedded_row_by_row():
    items = pd.DataFrame(
        {
            "title": ["Toy Story", "Alien", "Aliens"],
            "year": pd.array([1995, 1979, 1986], dtype="Int64"),
            "genres": [["Animation", "Children's"], ["Horror", "Sci-Fi"], ["Sci-Fi", "War"]],
        }
    )
    vectors = text_vectors(items)
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    likeness = vectors @ vectors.T
    assert np.allclose(np.diag(likeness), 1, atol=1e-5)
    assert likeness[1, 2] > likeness[0, 1]
    assert np.allclose(text_vectors(items[::-1])[::-1], vectors, atol=1e-5)
