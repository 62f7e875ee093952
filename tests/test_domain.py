"""The words of a data set: from params.yaml through stage `data` to the catalog."""

import json
import re

import pytest
from conftest import TINY
from hypothesis import given, strategies as st

from dualrec_utils.core import config
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.domain import MOVIES, Domain, load_domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import prepare
from dualrec_utils.pipeline import params
from dualrec_utils.report.page import in_words

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


@given(st.text() | st.text("movies rated,M "))
def test_the_default_words_change_no_text(text):
    assert MOVIES.spoken(text) == text


def test_the_page_speaks_of_other_items_and_leaves_titles_alone():
    context = {"about": ["the next movie", {"rows": [["Lego Movie"]], "source": "movie"}], "n": 3}
    assert in_words(context, GAMES) == {
        "about": ["the next game", {"rows": [["Lego Movie"]], "source": "movie"}],
        "n": 3,
    }


# Where the word may stand: English prompts and answers, readers of MovieLens' files, the study that repeats
# one about MovieLens, names in saved files and tables, and prose, which `Domain.spoken` reads.
ALLOWED = (
    "analysis/claims.py", "analysis/verdict.py", "audit/", "core/domain.py", "datasets/",
    "models/language/answers.py", "models/language/contamination.py", "models/language/parsing.py",
    "models/lstm/network.py", "models/movielm/model.py", "models/ratings/cold_start.py",
    "models/systems.py", "report/", "service/commands.py", "service/recommending.py",
    "service/web/schemas.py", "studies/domains/", "studies/knowledge/", "studies/nir/",
    "studies/online/measuring.py", "studies/questions/", "studies/variants.py",
)  # fmt: skip


def test_code_says_item():
    word = re.compile(r"(?<![a-z])(?:movies?|films?)(?![a-z-])", re.IGNORECASE)
    package = config.PACKAGE_ROOT / "dualrec_utils"
    places = [
        f"{path.relative_to(package)}:{number}"
        for path in sorted(package.rglob("*.py"))
        if not str(path.relative_to(package)).startswith(ALLOWED)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if word.search(line.replace("MOVIES", ""))
    ]
    assert places == []
