"""The report page: complete, self-contained, escaped, and honest about what was not run."""

import base64
import hashlib
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import use_root
from hypothesis import given, strategies as st
from PIL import Image
from ruamel.yaml import YAML

from dualrec_utils.analysis import breakdowns, order, plan, verdict
from dualrec_utils.core import config, files
from dualrec_utils.core.domain import Domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import systems
from dualrec_utils.pipeline import stages
from dualrec_utils.report import (
    first_screen,
    page as report,
    parts as page_parts,
    readme as readme_results,
    runs,
    text as results_text,
)
from dualrec_utils.report.runs import Run
from dualrec_utils.show import tables
from dualrec_utils.show.charts import COLORS, save_figure

ROOT = config.PACKAGE_ROOT
README = f"# Study\n\n{readme_results.BEGIN}\nold\n{readme_results.END}\n\nrest\n"


def metrics():
    """Flat metrics of two systems, no run of the others."""
    flat = {"claims/1/answer": "not run", "claims/1/question": "Order?"}
    flat |= {"dataset": "ml-100k", "source": "a test", "order_sha256": "0", "confidence": 0.95}
    for protocol in config.PROTOCOLS:
        for name, at in (("most_popular", 0.1), ("lstm", 0.2)):
            for metric in ("hit_rate@1", "hit_rate@5", "ndcg@5", "genre_jaccard"):
                key = f"{protocol}/{name}/{metric}"
                flat |= {key: at, f"{key}/low": at - 0.01, f"{key}/high": at + 0.01}
            flat |= {f"{protocol}/{name}/n_cases": 1136, f"{protocol}/{name}/n_users": 142}
            flat[f"{protocol}/{name}/list_length_max"] = 100
        key = f"{protocol}/difference/lstm-most_popular/hit_rate@5"
        flat |= {key: 0.1, f"{key}/low": 0.05, f"{key}/high": 0.15}
    return flat


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A scratch study with metrics, one figure, and a README with markers."""
    monkeypatch.setattr(config, "ROOT", tmp_path)
    monkeypatch.setattr(config, "PACKAGE_ROOT", tmp_path)
    for name in ("REPORTS", "FIGURES", "TABLES", "STUDIES", "METRICS", "TIMINGS", "NOTEBOOKS"):
        folder = getattr(config, name).relative_to(ROOT)
        monkeypatch.setattr(config, name, tmp_path / folder)
    config.NOTEBOOKS.mkdir()
    for stage in stages.STAGES:
        if stage.notebook:
            (config.NOTEBOOKS / stage.notebook).touch()
    (tmp_path / "README.md").write_text(README)
    files.write_json(metrics(), config.METRICS / "results.json")
    figure, axes = plt.subplots()
    axes.plot([0, 1])
    save_figure(figure, pd.DataFrame({"x": [0, 1]}), "curve", stage="lstm")
    plt.close(figure)
    return tmp_path


class Page(HTMLParser):
    """Collects tags, addresses and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.ids, self.text = [], [], set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.ids.add(values.get("id"))
        self.addresses += [(tag, values[name]) for name in ("src", "href") if name in values]

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def summary(flat):
    return " ".join(first_screen.findings(runs.at_hand(flat)))


def build(**changes):
    settings = {"dataset": "ml-100k", "seed": 1, "trial": False} | changes
    return Page(report.build_stage(**settings).read_text())


def show():
    """The page in memory, without the picture that `build` draws."""
    flat = results_text.read_metrics()
    context = report.page_context(flat, dataset="ml-100k")
    return Page(
        report.render(
            context | {"picture_4": None, "first_picture": None, "user": {"missing": ["this test"]}}
        )
    )


def test_the_page_is_one_file_that_fetches_nothing(study):
    page = build()
    assert page.tags.count("script") == 1 and "iframe" not in page.tags
    assert any(tag == "img" for tag, _ in page.addresses)
    for tag, address in page.addresses:
        reader_goes = tag == "a" and address.startswith(
            ("#", "notebooks/", "../notebooks/", "https://arxiv.org/")
        )
        assert address.startswith("data:") or reader_goes, f"{tag} asks for {address}"
    assert not re.search(r"url\(|@import", (study / "reports" / "index.html").read_text())
    assert {a[1:] for _, a in page.addresses if a.startswith("#")} <= page.ids, "links that arrive"
    # The policy allows the one script by its hash.
    html = (study / "reports" / "index.html").read_text()
    script = re.search(r"<script>(.*?)</script>", html, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_the_numbers_are_those_of_the_metrics_and_the_rest_is_not_run(study):
    words = show().words
    assert "0.200 [0.190, 0.210]" in words
    assert "not run" in words and verdict.ORDER_CAVEAT in words


def test_without_any_metrics_the_page_makes_no_claim(study):
    (config.METRICS / "results.json").unlink()
    words = show().words
    assert "The results are not there yet" in words
    assert "Nothing yet" in words and "None yet" in words
    assert not re.search(r"0\.\d{3} \[", words)


def test_text_of_a_language_model_is_escaped(study):
    answer = '<script>alert("x")</script><img src=http://x.example/a.png>'
    tables.save_table(pd.DataFrame({"answer": [answer]}), "answers", stage="rerank_ablation")
    page = show()
    assert page.tags.count("script") == 1
    assert answer in "".join(page.text)
    assert all("x.example" not in address for _, address in page.addresses)


def test_a_long_table_says_what_it_leaves_out(study):
    tables.save_table(pd.DataFrame({"n": range(page_parts.LONGEST_TABLE + 7)}), "long", stage="eda")
    assert "7 more rows in the saved table" in show().words


def test_executed_notebooks_are_linked_where_they_exist(study):
    assert "notebooks/02_lstm.html" not in dict(show().addresses).values()
    path = config.REPORTS / "notebooks" / "02_lstm.html"
    path.parent.mkdir()
    path.write_text("<p>done</p>")
    assert ("a", "notebooks/02_lstm.html") in show().addresses


def test_times_stand_beside_their_budgets(study):
    taken = {"seconds": 123.4, "budget_seconds": 300, "peak_memory_mb": 2048}
    taken |= {"machine": {"cpu": "Test CPU", "cores": 2}}
    files.write_json(taken, config.TIMINGS / "lstm.json")
    rows = {row["stage"]: row for row in page_parts.timings(["eda", "lstm"])}
    assert list(rows) == ["eda", "lstm"]
    assert (rows["lstm"]["budget"], rows["eda"]["budget"]) == (300, None)
    assert (rows["lstm"]["seconds"], rows["lstm"]["memory"]) == (123.4, 2.0)
    assert rows["eda"]["seconds"] is None
    assert "Test CPU" in show().words


def test_the_same_inputs_give_the_same_bytes(study):
    first = report.build_stage(dataset="ml-100k", seed=1, trial=False).read_bytes()
    assert report.build_stage(dataset="ml-100k", seed=1, trial=False).read_bytes() == first


def test_metrics_of_another_dataset_are_refused_before_anything_is_written(study):
    with pytest.raises(StudyError, match=r"'ml-100k'.*'ml-1m'"):
        report.build_stage(dataset="ml-1m", seed=1, trial=False)
    assert not (study / "reports" / "index.html").exists()
    assert (study / "README.md").read_text() == README


def test_the_readme_is_renewed_once_and_then_left_alone(study):
    build()
    path = study / "README.md"
    text, stamp = path.read_text(), path.stat().st_mtime_ns
    assert text.startswith("# Study\n\n") and text.endswith(f"{readme_results.END}\n\nrest\n")
    assert "\nold\n" not in text and "| LSTM alone (Stage 1) | 20.0% [19.0, 21.0] |" in text
    assert readme_results.update_readme(metrics()) is False
    assert path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "broken",
    [
        "no markers",
        f"{readme_results.BEGIN} only",
        f"{readme_results.END}\n{readme_results.BEGIN}",
        f"{readme_results.BEGIN}{readme_results.BEGIN}{readme_results.END}",
    ],
)
def test_a_readme_without_its_markers_is_refused_and_kept(study, broken):
    (study / "README.md").write_text(broken)
    with pytest.raises(StudyError, match="once each"):
        readme_results.update_readme(metrics())
    assert (study / "README.md").read_text() == broken


texts = st.text().filter(lambda text: readme_results.BEGIN not in text and readme_results.END not in text)


@given(before=texts, old=texts, after=texts, block=texts)
def test_only_the_block_changes(before, old, after, block):
    once = readme_results.with_block(
        f"{before}{readme_results.BEGIN}{old}{readme_results.END}{after}", block
    )
    assert once == f"{before}{readme_results.BEGIN}\n{block}\n{readme_results.END}{after}"
    assert readme_results.with_block(once, block) == once


def test_the_results_page_has_a_row_for_each_headline_system(study):
    block = readme_results.results_page(metrics()).split("| system |")[1]
    headline = plan.headline("movielm")
    for name in headline:
        assert f"| {systems.label(name)} |" in block
    assert block.count("not run") >= 5 * (len(headline) - 2)


def test_the_command_prints_the_table_and_the_place(study, capsys):
    environment = {**os.environ, "DUALREC_ROOT": str(study)}
    command = [sys.executable, "-m", "dualrec_utils", "results"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "0.200 [0.190, 0.210]" in done.stdout and "not run" in done.stdout
    assert "Report: not built yet" in done.stdout
    build()
    results_text.print_results()
    assert f"Report: {study / 'reports' / 'index.html'}" in capsys.readouterr().out


def test_the_page_has_each_claim_with_its_answer_and_what_would_settle_it(study):
    row = {"question": "Does it help movielm?", "system": "movielm_lora", "other": "lstm"}
    row |= {"metric": "hit_rate@1", "n_users": 142, "n_seeds": 3, "smallest_difference": 0.021}
    of_answer = {
        "yes": {"difference": 0.02, "low": 0.01, "high": 0.03},
        "no": {"difference": -0.02, "low": -0.03, "high": -0.01},
        "unclear": {"difference": 0.01, "low": -0.01, "high": 0.03, "users_needed": 1234.0},
    }
    flat = metrics() | {"language_model": "movielm"}
    for number, (answer, interval) in enumerate(of_answer.items(), start=2):
        values = row | interval | {"answer": answer}
        flat |= {f"claims/{number}/movielm/{name}": value for name, value in values.items()}
    flat |= {"claims/1/answer": "not run", "claims/1/question": "Order?"}
    files.write_json(flat, config.METRICS / "results.json")
    words = show().words
    assert "✗ no -2.0 points [-3.0, -1.0]" in words and "✓ yes +2.0 points [+1.0, +3.0]" in words
    settled = "1,234 users would show a difference of this size; "
    settled += "with 142 users, only 2.1 points or more would show"
    assert f"To settle it: {settled}" in words and "142 users, 3 seeds" in words
    taught, harmed = verdict.statement("2", "yes"), verdict.statement("3", "no")
    assert f"2 are answered: {taught}; {harmed}. 1 is unclear and 1 is not run." in words
    block = readme_results.results_page(flat)
    assert f"| {settled} |" in block and "| Order? | not run |" in block


def test_the_first_paragraph_says_what_order_interface_and_leak_do(study):
    flat = metrics()
    assert summary(flat).count("not measured") == 3
    ways = ("paper_prompt", "bare_history_catalog", "lstm_same_input")
    audit = {f"audit/interface/{way}/hit_rate@5": 0.1 + n / 100 for n, way in enumerate(ways)}
    audit |= {
        f"audit/leak/{way}/hit_rate@1": 0.3 - n / 10 for n, way in enumerate(("with", "without", "lstm"))
    }
    files.write_json(audit, config.METRICS / "audit.json")
    rows = [("gru4rec", "by id", 0.021), ("gru4rec", "drawn", -0.004), ("markov", "drawn", -0.03)]
    effects = pd.DataFrame(rows, columns=["model", "asked", "value"]).assign(minus="ease", metric="ndcg@5")
    effects = effects.assign(low=effects["value"] - 0.01, high=effects["value"] + 0.01, n_seeds=5)
    files.write_csv(effects, order.table_path("ml-100k", "effects"))
    said = summary(flat)
    by_id = "seems to be: +2.1 points [+1.1, +3.1] by movie id"
    assert f"{by_id}, -0.4 points [-1.4, +0.6] at random." in said
    asking, leak, by_order = said.index("Asking:"), said.index("The leak:"), said.index("What order")
    shares = [re.findall(r"\d+\.\d%", part) for part in (said[asking:leak], said[leak:by_order])]
    assert shares == [["10.0%", "11.0%", "12.0%"], ["30.0%", "20.0%", "10.0%"]]
    del audit["audit/leak/with/hit_rate@1"]
    files.write_json(audit, config.METRICS / "audit.json")
    assert "What the leak does was not measured." in summary(flat)


def test_tables_are_in_the_words_of_the_data_but_for_titles_and_what_others_do():
    game = Domain(item="game", items="games", verb="bought", history="", details="")
    table = {"columns": ["step"], "rows": [["movies already rated"]]}
    tables = [table, *(table | {"columns": ["step", kept]} for kept in ("title", "the released code"))]
    said = report.in_words({"tables": tables}, game)["tables"]
    assert [part["rows"] for part in said] == [
        [["games already bought"]],
        *[[["movies already rated"]]] * 2,
    ]


def test_how_many_users_it_takes_is_said():
    assert verdict.users_needed(metrics()) == ""
    flat = metrics() | {"power/higher": 0.18, "power/lower": 0.16, "power/chance": 0.8}
    flat |= {
        f"power/next_item/hit_rate@1/users_{how}": n
        for how, n in (("paired", 512.0), ("independent", 1820.0))
    }
    said = verdict.users_needed(flat)
    assert "HR@1 of 0.18 is higher than one of 0.16, with a chance of 80%? " in said
    assert "same users, 512;" in said and "1,820 for each" in said and "This run has 142." in said


def test_values_that_the_ratings_lack_are_named_where_there_are_any(study):
    flat = metrics() | {"dataset": "ml-1m"}
    run = runs.at_hand(flat)
    assert first_screen.lacking(run) == ""
    shares = {
        "dataset": "ml-1m",
        "share_of_ratings_without_value": 0.0,
        "share_of_ratings_without_time": 0.0,
    }
    files.write_json(shares, config.METRICS / "eda.json")
    assert first_screen.lacking(run) == ""
    files.write_json(shares | {"share_of_ratings_without_time": 0.401}, config.METRICS / "eda.json")
    said = first_screen.lacking(run)
    assert (
        said.startswith("MovieLens 1M: 40.1% of the ratings at hand have no time") and "value" not in said
    )
    same = {name: runs.Run(flat, config.REPORTS, name) for name in "ab"}
    assert first_screen.not_reproduced(flat, rows=[], others=same).count(said) == 1, "said once"
    without = {f"share_of_ratings_without_{part}": 1.0 for part in ("value", "time")}
    files.write_json(shares | without, config.METRICS / "eda.json")
    assert first_screen.lacking(run).count("left out") == 2


def test_a_profile_names_the_command_that_makes_it(study, monkeypatch):
    assert first_screen.command() == "make repro"
    monkeypatch.setattr(config, "ROOT", study / "profiles" / "big")
    assert first_screen.command() == "make repro PROFILE=big"


def test_baselines_taken_up_ready_made_are_said_where_the_time_is(study):
    machine = {"cores": 2}
    config.TIMINGS.mkdir(parents=True, exist_ok=True)
    assert first_screen.kept_minutes(config.TIMINGS) == 0
    models = {"a": {"fit_seconds": 600.0}, "b": {"fit_seconds": 1200.0}}
    files.write_json(models, config.TIMINGS / "baselines_models.json")
    for seconds, kept in ((1_000, 0), (40, 30)):
        files.write_json({"seconds": seconds, "machine": machine}, config.TIMINGS / "baselines.json")
        assert first_screen.kept_minutes(config.TIMINGS) == kept


def test_what_was_not_reproduced_is_grouped_by_reason(study):
    rows = [
        {"system": "A", "remark": "not run: no key"},
        {"system": "B", "remark": "our b"},
        {"system": "C", "remark": "not run: no key"},
    ]
    lines = first_screen.not_reproduced(metrics(), rows=rows, others={})
    assert lines[0] == "A, C: no key." and "MovieLens 1M" in lines[1] and "B" not in lines[0]
    big = Run({"dataset": "ml-1m"}, study / "profiles/big/reports", "big")
    lines = first_screen.not_reproduced(metrics(), rows=rows, others={"big": big})
    assert len(lines) == 2, "a profile has run MovieLens 1M"


def test_another_profile_stands_on_the_page(study):
    folder = study / "profiles" / "big" / "reports" / "metrics"
    other = {
        key: 0.345 if key == "next_item/lstm/hit_rate@5" else value for key, value in metrics().items()
    }
    files.write_json(other | {"dataset": "ml-1m"}, folder / "results.json")
    words = show().words
    assert "make repro PROFILE=big" in words and "0.345 [0.190, 0.210]" in words
    assert "make repro installs, runs every stage" in words
    assert "at the top" not in words
    audit = study / "profiles/big/reports/tables/audit"
    audit.mkdir(parents=True)
    same = {"metric": "hit_rate@1", "low": 0.0, "high": 0.5, "system": "lstm"}
    rungs = [same | {"value": 0.25, "rung": "as released"}, same | {"value": 0.125, "rung": "strict"}]
    pd.DataFrame(rungs).to_csv(audit / "ladder.csv", index=False)
    sentence = pd.DataFrame({"claim": ["iii"], "sentence": ["**(iii) Re-ranking helps: no.** Minus 2.0."]})
    sentence.to_csv(audit / "conclusions.csv", index=False)
    words = show().words
    assert "HR@1 0.250 [0.000, 0.500] at the top (as released), 0.125" in words
    assert "(iii) Re-ranking helps: no." in words
    by_both = (
        "HR@1 on MovieLens 1M (profile big) by the released code's rules: LSTM alone (Stage 1) 0.250"
        " [0.000, 0.500]. The paper prints 0.1847"
    )
    assert by_both in words and "without a language model, has" not in words
    counted = [row | {"metric": "hit_rate@5"} for row in rungs] + [rungs[0] | {"value": 0.75}]
    pd.DataFrame(counted).to_csv(audit / "stage_1.csv", index=False)
    assert "without a language model, has 0.250 [0.000, 0.500] if counted" in show().words


def claim(number, *, low, high, n_seeds, **changes):
    """One answered claim as notebook 07 writes it."""
    row = {"question": "?", "answer": "unclear", "system": "movielm_lora_reranked", "other": "lstm"}
    row |= {"metric": "hit_rate@1", "difference": (low + high) / 2, "low": low, "high": high}
    row |= {"n_users": 300, "n_seeds": n_seeds, "smallest_difference": 0.0412, "users_needed": 500.0}
    return {f"claims/{number}/{name}": value for name, value in (row | changes).items()}


def of_profile(study, profile, flat):
    files.write_json(flat, study / "profiles" / profile / "reports" / "metrics" / "results.json")


def test_the_papers_data_set_comes_first_once_it_has_several_seeds(study):
    flat = results_text.read_metrics()
    paper = metrics() | {"dataset": "ml-1m", "next_item/lstm/n_users": 904}
    paper |= {"next_item/lstm/hit_rate@5": 0.345}
    of_profile(study, "ml-1m", paper | claim("5/movielm", low=-0.1, high=-0.05, n_seeds=1))
    assert runs.first(flat).profile == "" and "On MovieLens 100K" in readme_results.readme_block(flat)
    of_profile(study, "ml-1m", paper | claim("5/movielm", low=-0.1, high=-0.05, n_seeds=3, answer="no"))
    assert runs.first(flat).profile == "ml-1m"
    block = readme_results.readme_block(flat)
    assert block.startswith("**On MovieLens 1M, ") and "-7.5 points [-10.0, -5.0]" in block
    assert "34.5% [19.0, 21.0]" in block and "904 test users" in block
    assert "make repro PROFILE=ml-1m" in block
    page = readme_results.results_page(flat)
    assert page.index("## The systems, on MovieLens 1M") < page.index("## The systems, on MovieLens 100K")
    first, _, rest = show().words.partition("What was reproduced")
    assert "-7.5 points" in first and "904 test users" in first
    assert "142 test users" in rest and "On MovieLens 100K" in rest


def test_data_of_ones_own_and_a_profile_come_first_themselves(study, monkeypatch):
    several = claim("5/movielm", low=-0.1, high=-0.05, n_seeds=3)
    of_profile(study, "ml-1m", metrics() | {"dataset": "ml-1m"} | several)
    books = metrics() | {"dataset": "books"}
    assert runs.first(books).flat == books
    said = pd.DataFrame({"question": ["?"], "answer": ["films and games."]})
    files.write_csv(said, config.study_dir("domains") / "answers.csv")
    assert "films and games" in " ".join(first_screen.first_lines(metrics(), whole=True))
    assert "films and games" not in " ".join(first_screen.first_lines(books, whole=True))
    monkeypatch.setattr(config, "ROOT", study / "profiles" / "ml-1m")
    assert runs.others() == {} and runs.first(metrics()).flat == metrics()


def test_what_a_pretrained_model_adds_for_whom_and_what_a_larger_one_must_show(study):
    system = "qwen_lora_reranked"
    flat = metrics() | {"dataset": "ml-1m", "language_model": "qwen"}
    for part, value in (("", 0.0123), ("/low", 0.0045), ("/high", 0.0217)):
        flat[f"next_item/{system}/hit_rate@1{part}"] = value
    stages = claim("5/qwen", low=-0.1, high=-0.05, n_seeds=1, system=system)
    beside = {"system": "dualrec_fusion", "other": "fusion_lstm_ease", "metric": "ndcg@5"}
    beside = claim("6/qwen", low=-0.03, high=0.01, n_seeds=1, **beside)
    of_profile(study, runs.PRETRAINED, flat | stages)
    run = runs.others()[runs.PRETRAINED]
    assert first_screen.pretrained(run) == "", "half of it says nothing"
    of_profile(study, runs.PRETRAINED, flat | stages | beside)
    run = runs.others()[runs.PRETRAINED]
    said = first_screen.pretrained(run)
    assert "1.2% [0.4, 2.2]" in said and "20.0% [19.0, 21.0]" in said and "300 users" in said
    assert "-1.0 points [-3.0, +1.0] of NDCG@5" in said and "4.1 points" in said and "groups" not in said
    rows = [("tail", "dualrec_fusion", 0.01), ("head", "dualrec_fusion", -0.1), ("head", "other", 0.1)]
    gains = pd.DataFrame(rows, columns=["group", "system", "low"]).assign(by=breakdowns.POPULARITY)
    files.write_csv(gains.assign(high=0.3), run.reports / "tables" / "results" / "gains_by_group.csv")
    said = first_screen.pretrained(run)
    assert "1 (popularity of the target, tail) of 2 groups" in said
    of_readme = first_screen.first_lines(results_text.read_metrics(), whole=True)
    assert of_readme[0].endswith(f". {said}")
    assert re.fullmatch(
        r"How sure: on MovieLens 100K, \d of \d questions .* answered; the others are .*", of_readme[-1]
    )
    of_page = first_screen.first_lines(results_text.read_metrics(), whole=False)
    assert f"{of_page[0]} {of_page[1]}" == of_readme[0] and of_page[1] == said
    assert not any(line.startswith("How sure") for line in of_page)
    several = claim("5/qwen", low=-0.1, high=-0.05, n_seeds=3, system=system)
    none = claim("5/qwen", low=0.0, high=0.0, n_seeds=3, system=system, smallest_difference=0.0)
    better = claim("5/qwen", low=0.01, high=0.05, n_seeds=3, system=system, answer="yes")
    for row, larger, seeds in ((stages, True, True), (several, True, False), (none, False, False)):
        of_profile(study, runs.PRETRAINED, flat | row | beside)
        said = first_screen.pretrained(runs.others()[runs.PRETRAINED])
        assert ("larger" in said) == larger and ("more seeds" in said) == seeds
    of_profile(study, runs.PRETRAINED, flat | better | beside)
    assert "larger" not in first_screen.pretrained(runs.others()[runs.PRETRAINED])


def test_optional_tables_are_shown_where_they_are(study):
    assert show().words.count("Not run.") >= 4
    for folder, name in (
        ("tables/audit", "steps"),
        ("studies/leave_one_out", "ours"),
        ("studies/questions", "sizes"),
        ("studies/peers", "libraries"),
    ):
        frame = pd.DataFrame({"system": ["lstm"], "value": [0.25], "low": [0.2], "high": [0.3]})
        path = study / "reports" / folder / f"{name}.csv"
        path.parent.mkdir(parents=True)
        frame.to_csv(path, index=False)
    words = show().words
    assert words.count("LSTM alone (Stage 1) 0.250 [0.200, 0.300]") == 4
    assert all(f"Table: {name}" in words for name in ("Steps", "Ours", "Sizes", "Libraries"))


@pytest.mark.parametrize("name", page_parts.STUDIES)
def test_answers_to_the_digests_questions_are_shown(study, name):
    path = config.study_dir(name) / "answers.csv"
    path.parent.mkdir(parents=True)
    pd.DataFrame({"question": ["How small?"], "answer": ["<b>Not</b> smaller, +0.1 points"]}).to_csv(
        path, index=False
    )
    words = show().words
    assert "How small? <b>Not</b> smaller, +0.1 points" in words and "Table: Answers" not in words


def test_the_lines_of_an_answer_are_a_list(study):
    folder = config.study_dir("domains")
    folder.mkdir(parents=True)
    lines = ["None leads.", "mine, not tuned: behind <b>EASE-R</b>."]
    pages = []
    for answer in (" ".join(lines), "\n".join(lines)):
        said = pd.DataFrame({"question": ["Which?"], "answer": [answer]})
        said.to_csv(folder / "answers.csv", index=False)
        pages.append(show())
    inline, listed = pages
    # Both lines begin in bold: the first as the lead, the other up to its colon.
    more = {
        tag: listed.tags.count(tag) - inline.tags.count(tag) for tag in ("p", "ul", "li", "strong", "b")
    }
    assert more == {"p": -1, "ul": 1, "li": 2, "strong": 2, "b": 0}
    assert "None leads. mine, not tuned: behind <b>EASE-R</b>." in listed.words


def test_an_answer_stands_below_the_table_that_it_explains(study):
    folder = config.study_dir("domains")
    folder.mkdir(parents=True)
    said = {"question": ["How many?", "Where?"], "answer": ["Of each.", "Nowhere."]}
    pd.DataFrame(said | {"table": ["counts", ""]}).to_csv(folder / "answers.csv", index=False)
    pd.DataFrame({"claim": ["it helps"], "tea shop": ["– / 28"]}).to_csv(folder / "counts.csv", index=False)
    assert "How many? claim tea shop it helps – / 28 Of each. Where? Nowhere." in show().words


def test_the_sortable_table_has_every_system_with_what_it_is_sorted_by(study):
    rows = {row["name"]: row for row in results_text.full_table(metrics())}
    assert set(rows) >= {systems.label(name) for name in systems.expected("movielm")}
    assert rows["SASRec"]["cells"][0] == "not run" and set(rows["SASRec"]["keys"]) == {""}
    assert rows["Most popular"]["keys"][:2] == [0.1, 0.1]


def test_the_picture_on_the_page_looks_like_the_saved_one(study):
    """Every pixel of a figure with small markers in all colours of the study, within 6% of its range."""
    figure, axes = plt.subplots()
    for place, color in enumerate(COLORS.values()):
        axes.plot([place], [place], "o", color=color, markersize=3)
    path = save_figure(figure, pd.DataFrame({"x": [0]}), "markers", stage="eda")
    plt.close(figure)
    source = page_parts.read_figure(path)["source"]
    shown = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB")
    saved = Image.open(path).convert("RGB")
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(saved)).max() <= 15
    assert len(source) < path.stat().st_size


def test_the_audit_s_claims_and_ladder_are_told(study):
    folder = study / "reports" / "tables" / "audit"
    folder.mkdir(parents=True)
    said = ["**(iii) Re-ranking helps: no.** Minus 2.0 points.", "**(v) Diversity: not shown.** 67%, 100%."]
    pd.DataFrame({"claim": ["iii", "v"], "sentence": said}).to_csv(folder / "conclusions.csv", index=False)
    same = {"metric": "hit_rate@1", "low": 0.0, "high": 0.5, "system": "lstm"}
    rungs = [same | {"value": value, "rung": rung}
             for value, rung in ((0.25, "as released"), (0.2, "between"), (0.125, "strict"))]  # fmt: skip
    pd.DataFrame(rungs).to_csv(folder / "ladder.csv", index=False)
    words = show().words
    assert "(iii) Re-ranking helps: no." in words and "(v) Diversity: not shown. 67%, 100%." in words
    assert "**" not in words
    assert "LSTM alone (Stage 1): HR@1 0.250 [0.000, 0.500] at the top (as released), 0.125" in words


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("**(iii) Helps: no.** Minus 2.", ("(iii) Helps: no.", "Minus 2.")),
        ("**Alone.**", ("Alone.", "")),
        ("No bold text.", ("", "No bold text.")),
        ("**Not closed", ("", "**Not closed")),
        ("First, **then** bold", ("", "First, **then** bold")),
        ("", ("", "")),
    ],
)
def test_a_conclusion_is_read_with_and_without_bold_text(tmp_path, said, parts):
    pd.DataFrame({"claim": ["i"], "sentence": [said]}).to_csv(tmp_path / "conclusions.csv", index=False)
    assert page_parts.read_claims(tmp_path) == [parts]


def test_figure_4_is_drawn_beside_its_data(study):
    build()
    drawn = pd.read_csv(config.FIGURES / "report" / "figure_4.csv")
    printed = drawn[(drawn["row"] == "MostPop") & (drawn["metric"] == "hit_rate@5")].set_index("protocol")[
        "value"
    ]
    assert printed.to_dict() == {"paper": 0.007, "next_item": 0.1, "window_of_five": 0.1}
    assert (config.FIGURES / "report" / "figure_4.png").is_file()


def test_a_trial_says_on_top_that_it_is_no_result_and_leaves_the_readme(study):
    before = (study / "README.md").read_text()
    words = build(trial=True).words
    assert words.index("A trial, no result.") < words.index("(Li and Grasman")
    assert (study / "README.md").read_text() == before
    assert "A trial" not in build().words


def test_the_user_followed_is_not_run_without_predictions(study):
    words = build().words
    assert "One user, step by step Not run: lstm, movielm_lora_seen_kept" in words


def page(flat):
    """The page of the committed files, and the user followed (who takes data) left out."""
    names = {"picture_4": "figure_4.png", "first_picture": "first.png"}
    pictures = {
        key: page_parts.read_figure(config.FIGURES / "report" / name) for key, name in names.items()
    }
    context = report.page_context(flat, dataset=flat["dataset"])
    return without_data(report.render(context | pictures | {"user": {"missing": ["left out"]}}))


def without_data(html):
    """A page without the user followed and links to executed notebooks, which are not committed."""
    before, after = html.split('<h2 id="user">')
    html = before + after[after.index("<h2 id=") :]
    return re.sub(r', <a href="[^"]*">with its outputs</a>', "", html)


@pytest.mark.parametrize("profile", ["", "ml-1m", "ml-1m-qwen"])
def test_every_number_of_a_committed_page_is_what_the_committed_files_give(profile, monkeypatch):
    folder = ROOT / "profiles" / profile if profile else ROOT
    use_root(folder, monkeypatch)
    flat = results_text.read_metrics()
    committed = without_data((folder / "reports" / "index.html").read_text(encoding="utf-8"))
    assert committed == page(flat), (
        f"{folder}: reports/index.html is older than its inputs: run `make report`"
    )
    moved = flat | {"next_item/lstm/hit_rate@5": flat["next_item/lstm/hit_rate@5"] + 0.001}
    assert page(moved) != committed, "a moved digit would not show"


def test_the_results_in_the_profiles_readme_are_what_its_metrics_give(monkeypatch):
    folder = ROOT / "profiles" / "ml-1m"
    use_root(folder, monkeypatch)
    text = (folder / "README.md").read_text(encoding="utf-8")
    block = text.split(readme_results.BEGIN)[1].split(readme_results.END)[0].strip()
    assert block == readme_results.readme_block(results_text.read_metrics()).strip()


def test_citation_and_card_are_there():
    text = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(text)
    assert "2507.13957" in str(text["references"])
    assert (ROOT / "reports" / "CARD.md").is_file()


def test_the_rating_hybrids_that_ran_are_among_what_was_reproduced(tmp_path):
    run = Run({}, tmp_path)
    assert first_screen.ratings(run) == []
    values = {"hybrid_cosine": 0.9641, "hybrid_cosine_leak": 0.9575, "biases": 0.9547}
    flat = {f"ratings/{name}/rmse_u1": value for name, value in values.items()}
    files.write_json(flat, tmp_path / "metrics" / "rating_hybrids.json")
    (line,) = first_screen.ratings(run)
    assert [line.index(value) for value in ("0.964", "0.958", "0.955")] == sorted(
        line.index(value) for value in ("0.964", "0.958", "0.955")
    )
