"""The page a reader opens first, `reports/index.html`, written from metrics files, tables and figures.

It is one file: its one script sorts a table, and nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from dualrec_utils.analysis import verdict
from dualrec_utils.core import config, files
from dualrec_utils.core.domain import MOVIES, Domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.report import (
    first_figure,
    first_screen,
    gallery,
    parts as page_parts,
    results_json,
    runs,
    walkthrough,
    words as page_words,
)
from dualrec_utils.report.costs import NAME as COSTS, costs_page
from dualrec_utils.report.figure_4 import draw_figure_4
from dualrec_utils.report.readme import RESULTS, results_page, update_readme
from dualrec_utils.report.runs import Run
from dualrec_utils.report.text import all_systems, basis, full_table, read_metrics, results_table
from dualrec_utils.show import paper
from dualrec_utils.show.charts import save_figure

# Stages shown one after the other below the results, each with its figures and tables.
ROOMS = (
    "eda", "lstm", "baselines", "movielm", "zero_shot_llm", "lora_finetuning", "rerank_ablation",
    "rating_hybrids", "cold_start", "online",
)  # fmt: skip
# Those whose times are shown.
TIMED = ("data", *ROOMS, "results", "audit")
# Figures of other profiles that the page shows too.
_OF_OTHERS = ("audit/ladder", "audit/stage_1", "report/figure_4", "lstm/figure_3")
# Columns of tables that hold titles, or what others do: they stay as they are.
_NOT_OURS = {"title", "paper", "the released code"}
# Parts of the page that hold titles or pictures, or tell of MovieLens whatever the run's data.
_OF_FILMS = {"source", "user", "studies", "leave_one_out", "peers"}
# Tables of notebook 07 that the page shows in a form of its own.
_SHOWN_APART = ("deviations", "figure_4_next_item", "figure_4_window_of_five")


def _told(run: Run) -> dict[str, Any]:
    """What is told of every run alike, from its metrics and what its reports hold."""
    audit = run.reports / "tables" / "audit"
    return {
        "basis": basis(run.flat),
        "findings": first_screen.findings(run),
        "ladder": page_parts.read_ladder(audit),
        "paper_claims": page_parts.read_claims(audit),
    }


def _other_results(others: Mapping[str, Run]) -> list[dict[str, Any]]:
    """What the page shows of other profiles, one section each."""
    shared = Counter(run.dataset for run in others.values())
    return [
        {
            "name": name,
            "dataset": run.dataset,
            # Profiles may share a data set.
            "title": run.dataset if shared[run.dataset] == 1 else f"{run.dataset} ({name})",
            "stage_1": first_screen.stage_1(run),
            "figures": [
                page_parts.read_figure(path)
                for stem in _OF_OTHERS
                if (path := run.reports / "figures" / f"{stem}.png").is_file()
            ],
            "page": f"../profiles/{name}/reports/index.html",
            "results": results_table(run.flat, names=all_systems(run.flat)).to_dict("split"),
            "claims": verdict.claim_rows(run.flat),
        }
        | _told(run)
        for name, run in others.items()
    ]


def page_context(flat: Mapping[str, Any], *, dataset: str, trial: bool = False) -> dict[str, Any]:
    """Everything the template shows but Figure 4 as a picture and the user followed."""
    rooms = {stage: page_parts.room(stage) for stage in (*ROOMS, "results", "audit")}
    figures = {figure["name"]: figure for figure in rooms["results"]["figures"]}
    saved = {table["title"]: table for table in rooms["results"]["tables"]}
    at_hand, first, others = runs.at_hand(flat), runs.first(flat), runs.others()
    timings = page_parts.timings(TIMED)
    figure_4 = {protocol: page_parts.read_figure_4(protocol) for protocol in config.PROTOCOLS}
    return {
        "dataset": dataset,
        "dataset_name": at_hand.dataset or dataset,
        "trial": trial,
        "source": flat.get("source", "not fetched yet"),
        "order_caveat": first_screen.order_caveat(flat).strip(),
        "rating_claims": page_parts.rating_claims(dataset),
        "reproduced": first_screen.reproduced(flat, others=others),
        "not_reproduced": first_screen.not_reproduced(flat, rows=figure_4["next_item"], others=others),
        "trust": first_screen.trust(first.flat),
        # The page begins with this run, which need not be the one at hand.
        "first": {
            "profile": first.profile,
            "dataset": first.dataset,
            "lines": first_screen.first_lines(flat, whole=False),
            "claims": verdict.claim_rows(first.flat),
            "basis": basis(first.flat),
        },
        "command": first_screen.command(),
        "minutes": first_screen.minutes(timings),
        "kept_minutes": first_screen.kept_minutes(config.TIMINGS),
        "verdicts": verdict.headline(flat),
        "caveats": [*first_screen.caveats(flat), verdict.PROTOCOL_CAVEAT],
        "users_needed": verdict.users_needed(flat),
        "headline": results_table(flat).to_dict("split"),
        "full": full_table(flat),
        "figures": figures,
        "figure_4": figure_4,
        "glossary": page_words.GLOSSARY,
        "deviations": saved.get("Deviations"),
        "statistics": page_parts.read_tables(config.TABLES / "results", without=_SHOWN_APART),
        "audit": rooms["audit"],
        **_told(at_hand),
        "studies": {name.split("/")[0]: page_parts.read_study(name) for name in page_parts.STUDIES},
        "leave_one_out": page_parts.read_tables(config.study_dir("leave_one_out")),
        "peers": page_parts.read_tables(config.study_dir("peers"), without=("runs",)),
        "others": _other_results(others),
        "rooms": [rooms[stage] for stage in ROOMS],
        "by_name": rooms,
        "results_room": rooms["results"],
        "timings": timings,
        "training_seconds": page_parts.training_seconds(),
        "figure_3": paper.FIGURE_3,
    }


def in_words(value: Any, domain: Domain) -> Any:
    """What the page shows, in the words of the data set, but for what may hold titles or a picture."""
    if isinstance(value, str):
        return domain.spoken(value)
    if isinstance(value, Mapping):
        kept = _OF_FILMS | ({"rows"} if _NOT_OURS & set(value.get("columns", _NOT_OURS)) else set())
        return {key: part if key in kept else in_words(part, domain) for key, part in value.items()}
    return type(value)(in_words(part, domain) for part in value) if type(value) in (list, tuple) else value


def render(context: Mapping[str, Any], domain: Domain = MOVIES) -> str:
    """The page as HTML, in the words of the data set. All text is escaped: a model wrote some of it.

    The page's policy allows the one script by its hash and no request at all, so that nothing a model
    wrote could run or fetch.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dualrec_utils.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.get_template("page.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    template = Path(__file__).with_name("templates") / "report.html.j2"
    page = environment.from_string(domain.spoken(template.read_text(encoding="utf-8")))
    return page.render(in_words(context, domain), script=script, script_digest=digest)


def build_stage(*, dataset: str, seed: int, trial: bool, domain: Domain = MOVIES) -> Path:
    """Stage `report`: write page, figures, thumbnails and texts; renew the README's blocks.

    Args:
        dataset, seed: of the run; the seed draws the user who is followed.
        trial: whether the run is too small to be a result: the page says so, the README stays as it is.
        domain: what items are called.

    Returns:
        Where the page lies.

    Raises:
        StudyError: when the metrics are of another dataset, or the README lacks its markers.
    """
    flat = read_metrics()
    if flat and flat["dataset"] != dataset:
        raise StudyError(
            f"reports/metrics/results.json is of {flat['dataset']!r}, params.yaml says {dataset!r}:"
            " run `dvc repro results` first"
        )
    context = page_context(flat, dataset=dataset, trial=trial)
    picture = save_figure(*draw_figure_4(flat), "figure_4", stage="report") if flat else None
    first = (
        save_figure(*first_figure.draw(runs.first(flat).flat), "first", stage="report") if flat else None
    )
    context |= {
        "picture_4": picture and page_parts.read_figure(picture),
        "first_picture": first and page_parts.read_figure(first),
        "user": walkthrough.follow(dataset=dataset, seed=seed, model=verdict.model_of(flat)),
    }
    path = files.write_text(render(context, domain), config.REPORTS / "index.html")
    gallery.write_thumbnails()
    if not trial:
        files.write_text(results_page(flat, domain), config.REPORTS / RESULTS)
        files.write_text(costs_page(TIMED), config.REPORTS / COSTS)
        if flat:
            files.write_json(results_json.results(flat), config.REPORTS / results_json.NAME)
        update_readme(flat, domain)
    return path
