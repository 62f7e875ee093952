"""The page a reader opens first, and the README's results: both written from the metrics files.

`build_stage` writes `reports/index.html` (one file; its one script sorts a table, and nothing is fetched)
and renews the block between two markers of `README.md`. `python -m dualrec_utils.report --print` prints
the results table.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from dualrec_utils import (
    config,
    files,
    first_screen,
    page_parts,
    paper,
    systems,
    tables,
    verdict,
    walkthrough,
)
from dualrec_utils.errors import StudyError

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
NOT_RUN = "not run"
COLUMNS = (
    ("next_item", "hit_rate@1", "HR@1"),
    ("next_item", "hit_rate@5", "HR@5"),
    ("next_item", "ndcg@5", "NDCG@5"),
    ("window_of_five", "hit_rate@1", "HR@1"),
    ("window_of_five", "hit_rate@5", "HR@5"),
)
# Stages shown one after the other below the results, each with its figures and tables.
ROOMS = ("eda", "lstm", "baselines", "movielm", "zero_shot_llm", "lora_finetuning", "rerank_ablation")
# Figures of other profiles that the page shows too.
_OF_OTHERS = ("audit/ladder", "report/figure_4", "lstm/figure_3")
# Tables of notebook 07 that the page shows in a form of its own.
_SHOWN_APART = ("deviations", "figure_4_next_item", "figure_4_window_of_five")


def read_metrics() -> dict[str, Any]:
    """Flat metrics of notebook 07; empty where it has not run."""
    path = config.METRICS / "results.json"
    return files.read_json(path) if path.is_file() else {}


def cell(flat: Mapping[str, Any], key: str) -> str:
    """A metric as `value [low, high]`, or `not run`."""
    if key not in flat:
        return NOT_RUN
    return tables.with_interval(flat[key], flat[f"{key}/low"], flat[f"{key}/high"])


def results_table(flat: Mapping[str, Any], *, names: Sequence[str] | None = None) -> pd.DataFrame:
    """One row a system, one column a (protocol, metric) of :data:`COLUMNS`; cells are text.

    Args:
        flat: metrics of notebook 07.
        names: the systems; None for those a reader meets first.
    """
    rows = []
    for name in systems.headline(verdict.model_of(flat)) if names is None else names:
        cells = {f"{protocol} {short}": cell(flat, f"{protocol}/{name}/{metric}")
                 for protocol, metric, short in COLUMNS}  # fmt: skip
        rows.append({"system": systems.label(name)} | cells)
    return pd.DataFrame(rows)


def all_systems(flat: Mapping[str, Any]) -> tuple[str, ...]:
    """Every system with a headline value, and those a reader expects, in the study's order."""
    found = {key.split("/")[1] for key in flat if key.startswith("next_item/") and key.endswith("/n_cases")}
    expected = systems.expected(verdict.model_of(flat))
    return tuple(systems.in_order({n for n in found if not n.endswith("_seen_kept")} | set(expected)))


def basis(flat: Mapping[str, Any]) -> str:
    """What the numbers stand on: dataset, users, cases, interval."""
    users, cases = flat.get("next_item/lstm/n_users"), flat.get("next_item/lstm/n_cases")
    windows = flat.get("window_of_five/lstm/n_cases")
    if None in (users, cases, windows):
        return "The results are not there yet: run `make repro`."
    return (
        f"{flat['dataset']}, {users} test users, {cases:,} cases (next_item) and {windows}"
        f" (window_of_five), seen movies excluded, {flat['confidence']:.0%} intervals over users."
    )


def claims_table(flat: Mapping[str, Any]) -> pd.DataFrame:
    """The reader's questions with answer and difference, one row each."""
    rows = [
        {
            "question (next_item)": claim["question"],
            "answer": claim["answer"],
            "difference": f"{claim['difference']}: {claim['compared']}" if claim["difference"] else "",
        }
        for claim in verdict.claims(flat)
    ]
    return pd.DataFrame(rows)


def readme_block(flat: Mapping[str, Any]) -> str:
    """What stands between the README's markers, the markers left out."""
    others = first_screen.other_runs()
    rows = page_parts.read_figure_4("next_item")
    note = (
        "Values are `value [low, high]`. `next_item`: the one next movie; `window_of_five`: any of the"
        " last five. A language model answers with three titles, so its HR@5 is HR@3; `catalog only` lists"
        " have ten."
    )
    sections = {
        "What was reproduced.": first_screen.reproduced(flat, others=others),
        "What was not, and why.": first_screen.not_reproduced(flat, rows=rows, others=others),
        "Which numbers to trust.": first_screen.trust(flat),
    }
    parts = [
        f"**What the study found.** {verdict.summary(flat) or basis(flat)} {verdict.ORDER_CAVEAT}",
        tables.to_markdown(claims_table(flat)),
        *(f"**{title}** {' '.join(lines)}" for title, lines in sections.items()),
        tables.to_markdown(results_table(flat)),
        f"{basis(flat)} {note} {' '.join(verdict.caveats(flat)[:-1])}".strip(),
    ]
    return "\n\n".join(parts)


def with_block(readme: str, block: str) -> str:
    """The README's text with its generated block replaced.

    Raises:
        StudyError: when the two markers are not there once each, in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise StudyError(f"README.md must have the lines {BEGIN!r} and {END!r} once each, in this order")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"


def update_readme(flat: Mapping[str, Any], path: Path | None = None) -> bool:
    """Renew the README's block; the file is written only where its text changes.

    Returns:
        Whether it changed.
    """
    path = path or config.ROOT / "README.md"
    if not path.is_file():
        raise StudyError(f"there is no {path}; restore it with `git checkout README.md`")
    old = path.read_text(encoding="utf-8")
    new = with_block(old, readme_block(flat))
    if new != old:
        files.write_text(new, path)
    return new != old


def full_table(flat: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the sortable table: `name`, `cells` (text), `keys` (sorted by these; empty when not run)."""
    names = all_systems(flat)
    frame = results_table(flat, names=names)
    rows = []
    for at, name in enumerate(names):
        keys = [f"{protocol}/{name}/{metric}" for protocol, metric, _ in COLUMNS]
        keys += [f"next_item/{name}/genre_jaccard"]
        longest = f"next_item/{name}/list_length_max"
        rows.append(
            {
                "name": systems.label(name),
                "cells": [*frame.iloc[at, 1:], cell(flat, keys[-1]), str(flat.get(longest, ""))],
                "keys": [flat.get(key, "") for key in [*keys, longest]],
            }
        )
    return rows


def other_results(others: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the page shows of other profiles, one section each."""
    found = []
    for name, flat in others.items():
        reports = config.ROOT / "profiles" / name / "reports"
        dataset = verdict.DATASETS.get(flat["dataset"], flat["dataset"])
        found.append(
            {
                "name": name,
                "dataset": dataset,
                "basis": basis(flat),
                "summary": verdict.summary(flat),
                "claims": verdict.claims(flat),
                "stage_1": first_screen.stage_1(reports / "metrics", dataset),
                "figures": [
                    page_parts.read_figure(path)
                    for stem in _OF_OTHERS
                    if (path := reports / "figures" / f"{stem}.png").is_file()
                ],
                "ladder": page_parts.read_ladder(reports / "tables" / "audit"),
                "paper_claims": page_parts.read_claims(reports / "tables" / "audit"),
                "page": f"../profiles/{name}/reports/index.html",
                "results": results_table(flat, names=all_systems(flat)).to_dict("split"),
                "comparisons": verdict.comparisons(flat),
                "seeds": page_parts.read_tables(reports / "tables" / "seeds"),
            }
        )
    return found


def save_figure_4(flat: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw Figure 4 beside ours under `reports/figures/report/`; None without results."""
    # Matplotlib takes a while to import, which printing the table need not wait for.
    from dualrec_utils.plots.figure_4 import draw_figure_4
    from dualrec_utils.plots.style import save_figure

    if not flat:
        return None
    figure, drawn = draw_figure_4(flat)
    return page_parts.read_figure(save_figure(figure, drawn, "figure_4", stage="report"))


def follow_user(flat: Mapping[str, Any], *, dataset: str, seed: int) -> dict[str, Any]:
    """The user followed through the system, or `missing`: the systems that were not run."""
    model = verdict.model_of(flat)
    missing = walkthrough.missing(model, dataset=dataset)
    if missing:
        return {"missing": missing}
    return {
        "missing": [],
        "rule": walkthrough.RULE,
        **walkthrough.follow(dataset=dataset, seed=seed, model=model),
    }


def page_context(flat: Mapping[str, Any], *, dataset: str, seed: int) -> dict[str, Any]:
    """Everything the template shows but Figure 4 as a picture and the user followed."""
    rooms = {stage: page_parts.room(stage) for stage in (*ROOMS, "results", "audit")}
    figures = {figure["name"]: figure for figure in rooms["results"]["figures"]}
    saved = {table["title"]: table for table in rooms["results"]["tables"]}
    others = first_screen.other_runs()
    timings = page_parts.timings()
    figure_4 = {protocol: page_parts.read_figure_4(protocol) for protocol in config.PROTOCOLS}
    return {
        "dataset": dataset,
        "seed": seed,
        "source": flat.get("source", "not fetched yet"),
        "basis": basis(flat),
        "summary": verdict.summary(flat),
        "claims": verdict.claims(flat),
        "order_caveat": verdict.ORDER_CAVEAT,
        "reproduced": first_screen.reproduced(flat, others=others),
        "not_reproduced": first_screen.not_reproduced(flat, rows=figure_4["next_item"], others=others),
        "trust": first_screen.trust(flat),
        "minutes": first_screen.minutes(timings),
        "verdicts": verdict.headline(flat),
        "caveats": [*reversed(verdict.caveats(flat)), verdict.PROTOCOL_CAVEAT],
        "comparisons": verdict.comparisons(flat),
        "headline": results_table(flat).to_dict("split"),
        "full": full_table(flat),
        "figures": figures,
        "figure_4": figure_4,
        "deviations": saved.get("Deviations"),
        "statistics": page_parts.read_tables(config.TABLES / "results", without=_SHOWN_APART),
        "audit": rooms["audit"],
        "paper_claims": page_parts.read_claims(config.TABLES / "audit"),
        "ladder": page_parts.read_ladder(config.TABLES / "audit"),
        "questions": page_parts.read_questions(),
        "leave_one_out": page_parts.read_tables(config.STUDY_TABLES / "leave_one_out"),
        "peers": page_parts.read_tables(config.PACKAGE_ROOT / "reports" / "peers", without=("runs",)),
        "others": other_results(others),
        "rooms": [rooms[stage] for stage in ROOMS],
        "results_room": rooms["results"],
        "timings": timings,
        "figure_3": paper.FIGURE_3,
    }


def render(context: Mapping[str, Any]) -> str:
    """The page as HTML. All text is escaped: some of it was written by a language model.

    The page's policy allows the one script by its hash and no request at all, so that nothing a model
    wrote could run or fetch.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dualrec_utils"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.get_template("sort.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("report.html.j2").render(context, script=script, script_digest=digest)


def build_stage(*, dataset: str, seed: int) -> Path:
    """Stage `report`: write `reports/index.html` and Figure 4, and renew the README's block.

    Args:
        dataset, seed: of the run; the seed draws the user who is followed.

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
    context = page_context(flat, dataset=dataset, seed=seed)
    context |= {
        "picture_4": save_figure_4(flat),
        "user": follow_user(flat, dataset=dataset, seed=seed),
    }
    path = files.write_text(render(context), config.REPORTS / "index.html")
    update_readme(flat)
    return path


def as_text(flat: Mapping[str, Any]) -> str:
    """The results table for a terminal."""
    table = results_table(flat, names=all_systems(flat)).set_index("system")
    blocks = []
    for protocol in config.PROTOCOLS:
        own = table[[column for column in table if column.startswith(f"{protocol} ")]]
        short = own.set_axis([column.split()[1] for column in own], axis=1).rename_axis(None)
        blocks.append(f"{protocol}\n{short.to_string()}")
    return "\n\n".join([*blocks, basis(flat), *verdict.headline(flat)])


def main() -> None:
    """Print the results and where the page lies."""
    parser = argparse.ArgumentParser(description="The study's results.")
    parser.add_argument("--print", action="store_true", required=True, help="print the results table")
    parser.parse_args()
    page = config.REPORTS / "index.html"
    place = page if page.is_file() else f"not built yet ({page}): run `make repro`"
    print(f"{as_text(read_metrics())}\n\nReport: {place}")


if __name__ == "__main__":
    main()
