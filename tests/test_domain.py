"""The words of a data set: from params.yaml through stage `data` to the catalog."""

import json

import pytest
from conftest import TINY

from dualrec_utils.core import config
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.domain import MOVIES, Domain, load_domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import prepare
from dualrec_utils.pipeline import params

GAMES = Domain(item="game", items="games", verb="bought", history="game buying history", details="")


def test_the_default_run_has_the_words_of_catalogs_made_by_hand():
    whole = params.load(config.PACKAGE_ROOT / "params.yaml")
    assert Domain(**whole.domain.model_dump()) == MOVIES


def test_stage_data_hands_them_to_every_other_stage(tiny):
    assert load_catalog("ml-100k").domain == MOVIES
    prepare.prepare(**TINY, domain=GAMES)
    assert load_catalog("ml-100k").domain == GAMES


def test_words_that_are_not_there_name_the_stage_to_run(tiny):
    file = config.processed_dir("ml-100k") / "domain.json"
    file.write_text('{"item": "game"}', encoding="utf-8")
    with pytest.raises(StudyError, match=r"domain\.json"):
        load_domain("ml-100k")
    file.unlink()
    with pytest.raises(StudyError, match="dvc repro data"):
        load_catalog("ml-100k")


@pytest.mark.parametrize(
    ("key", "value"),
    [("item", ""), ("items", "two\nlines"), ("verb", 3), ("history", " spaced"), ("details", "unspaced")],
)
def test_words_that_break_a_sentence_are_refused(tmp_path, key, value):
    values = params.read_yaml(config.PACKAGE_ROOT / "params.yaml")
    values["domain"][key] = value
    (tmp_path / "params.yaml").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(StudyError, match=rf"domain\.{key}"):
        params.load(tmp_path / "params.yaml")
