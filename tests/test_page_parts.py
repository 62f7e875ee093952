"""Parts of the report page: links to notebooks that arrive, and words explained alike in both places."""

import re

import pandas as pd
import pytest

from dualrec_utils.core import config, files
from dualrec_utils.pipeline import stages
from dualrec_utils.report import parts as page_parts, words as page_words
from dualrec_utils.studies.domains import settings as domains
from dualrec_utils.studies.knowledge import settings as knowledge
from dualrec_utils.studies.questions import settings as questions

ROOT = config.PACKAGE_ROOT


@pytest.mark.parametrize("reports", [ROOT / "reports", ROOT / "profiles" / "ml-1m" / "reports"])
def test_links_to_notebooks_arrive_from_every_page(reports, monkeypatch, tmp_path):
    monkeypatch.setattr(config, "REPORTS", reports)
    names = [stage.notebook for stage in stages.STAGES if stage.notebook]
    for name in [*names, *page_parts.STUDIES.values()]:
        links = page_parts.notebook_links(name, executed=tmp_path)
        assert (reports / links["source"]).is_file() and links["page"] == ""
        assert links["number"] == name[:2]
    assert list(page_parts.STUDIES.values()) == [
        study.NOTEBOOK for study in (questions, knowledge, domains)
    ]


def test_a_notebook_with_its_outputs_is_linked_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "REPORTS", tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/02_lstm.html").touch()
    links = page_parts.notebook_links("02_lstm.ipynb", executed=tmp_path / "notebooks")
    assert links["page"] == "notebooks/02_lstm.html"


def test_the_guide_explains_the_same_words_in_the_same_way():
    guide = " ".join((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").split())
    for word, meaning in page_words.GLOSSARY:
        assert f"- **{word}**: {meaning}." in guide
    template = (ROOT / "dualrec_utils/report/templates/report.html.j2").read_text(encoding="utf-8")
    assert re.search(r"for word, meaning in glossary", template)


def test_a_table_without_anything_in_it_is_left_out(tmp_path, monkeypatch):
    """Claims 7 and 8 in a profile that fits none of their models."""
    folder = tmp_path / "rating_hybrids"
    files.write_csv(pd.DataFrame(), folder / "claims.csv")
    files.write_csv(pd.DataFrame({"folds": [5], "rmse": [1.0]}), folder / "errors.csv")
    assert [table["rows"] for table in page_parts.read_tables(folder)] == [[["5", "1"]]]
    monkeypatch.setattr(config, "TABLES", tmp_path)
    monkeypatch.setattr(config, "STUDIES", tmp_path / "studies")
    assert page_parts.rating_claims("toy") == []
