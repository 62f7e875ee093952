"""What stage `report` writes into the README between markers, and `reports/results.md`.

Results come from the metrics files, the table of notebooks from :mod:`report.gallery`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dualrec_utils.analysis import verdict
from dualrec_utils.core import config, files
from dualrec_utils.core.domain import MOVIES, Domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import systems
from dualrec_utils.report import first_screen, gallery, parts as page_parts, runs
from dualrec_utils.report.text import NOT_RUN, basis, results_table
from dualrec_utils.show import tables
from dualrec_utils.show.markdown import as_text

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
RESULTS = "results.md"
FIGURE = "reports/figures/report/first.png"
_MEASURES = (
    "HR@1 is how often the next movie comes first, HR@5 how often it is among the first five. NDCG@5 counts"
    " a higher place more."
)
# Columns of the README's table.
_SHORT = {"HR@1": "hit_rate@1", "HR@5": "hit_rate@5"}
_NOTE = (
    "Values are `value [low, high]`. `next_item`: the next movie; `window_of_five`: any of the last five."
    " A language model answers with three titles, so its HR@5 is HR@3; `catalog only` lists have ten."
    " `seeds`: the `next_item` values are means over so many; with 1 the interval covers only users, and"
    " nothing is claimed. What a claim compares with is chosen on validation users: the best model that"
    " reads the order, and the best fusion without a language model."
)


def readme_block(flat: Mapping[str, Any], domain: Domain = MOVIES) -> str:
    """What stands between the README's markers, the markers left out, in the words of the data set."""
    first, *rest = first_screen.first_lines(flat, whole=True) or [basis(flat)]
    run = runs.first(flat)
    flat = run.flat
    answer, *more = re.split(r"(?<=\.) (?=[A-Z])", first, maxsplit=1)
    blocks = [" ".join([f"**{answer}**", *more])]
    if rest:
        blocks.append(f"{_MEASURES} Brackets: {flat.get('confidence', 0.95):.0%} intervals.")
        # What equal times do stands on the page: the README has few words.
        rest = [line for line in rest if not line.startswith(verdict.EQUAL_TIMES)]
        blocks.append("\n".join(f"- {_labelled(line)}" for line in rest))
    if "next_item/lstm/n_cases" in flat:
        names = systems.in_order(_of_readme(flat))
        blocks += [
            f"![How often each system names the next movie]({FIGURE})",
            tables.to_markdown(_in_short(flat, names)),
            f"{flat['next_item/lstm/n_cases']:,} cases of {flat['next_item/lstm/n_users']} test users,"
            f" seen movies excluded, {_intervals(flat, names)}. Stage 3 lists only three titles."
            f" {first_screen.order_caveat(flat)}{_made_by(run)}[All results](reports/{RESULTS}).",
        ]
    return domain.spoken("\n\n".join(blocks))


def _intervals(flat: Mapping[str, Any], names: Sequence[str]) -> str:
    """What the intervals of the README's table are over."""
    if max(flat.get(f"next_item/{name}/n_seeds", 1) for name in names) == 1:
        return "intervals over users, one seed"
    return "intervals over users and seeds (“Asking” and “The leak”: one seed)"


def _made_by(run: runs.Run) -> str:
    """Which command makes a run that is not the one at hand, with a space behind; else empty."""
    return f"These numbers: `make repro PROFILE={run.profile}`. " if run.profile else ""


def _labelled(line: str) -> str:
    """A finding whose subject, up to the first colon, stands out."""
    subject, colon, rest = line.partition(":")
    return f"**{subject}:**{rest}" if colon else line


def _in_short(flat: Mapping[str, Any], names: Sequence[str]) -> pd.DataFrame:
    """The README's table: shares of cases in percent, as in the sentences above it."""
    rows = []
    for name in names:
        keys = {short: f"next_item/{name}/{metric}" for short, metric in _SHORT.items()}
        cells = {
            short: verdict.percent(flat, key) if key in flat else NOT_RUN for short, key in keys.items()
        }
        seeds = str(flat.get(f"next_item/{name}/n_seeds", 1))
        rows.append({"system": systems.label(name), **cells, "seeds": seeds})
    return pd.DataFrame(rows)


def _of_readme(flat: Mapping[str, Any]) -> set[str]:
    """The systems of the README's table: the two sides of each claim that its first lines speak of."""
    model = verdict.model_of(flat)
    order_aware = str(flat.get("claims/1/system", "gru4rec"))
    control = str(flat.get(f"claims/6/{model}/other", "ease"))
    return {order_aware, "lstm", f"{model}_lora_reranked", "dualrec_fusion", control}


def results_page(flat: Mapping[str, Any], domain: Domain = MOVIES) -> str:
    """`reports/results.md`: the claims, what was and was not reproduced, what to trust, the systems."""
    others, first = runs.others(), runs.first(flat)
    rows = page_parts.read_figure_4("next_item")
    sections = {
        "What was reproduced": first_screen.reproduced(flat, others=others),
        "What was not, and why": first_screen.not_reproduced(flat, rows=rows, others=others),
        "Which numbers to trust": first_screen.trust(first.flat),
    }
    begin = " ".join(first_screen.first_lines(flat, whole=True)) or basis(flat)
    parts = [
        "# Results",
        "Written by stage `report` from the metrics files. With figures: `index.html` in this folder.",
        f"{begin} {first_screen.order_caveat(flat)}".strip(),
    ]
    shown = [first, runs.at_hand(flat)] if first.profile else [first]
    for run in shown:
        where = f", on {run.dataset}" if len(shown) > 1 else ""
        parts += [f"## The claims{where}", tables.to_markdown(verdict.claims_table(run.flat))]
    if rated := page_parts.rating_claims(str(flat.get("dataset", ""))):
        parts += [
            f"On ratings, {runs.at_hand(flat).dataset}:",
            tables.to_markdown(pd.DataFrame(rated).drop(columns="settled")),
        ]
    for title, lines in sections.items():
        parts += [f"## {title}", "\n".join(f"- {as_text(line)}" for line in lines)]
    for run in shown:
        where = f", on {run.dataset}" if len(shown) > 1 else ""
        parts += [f"## The systems{where}", tables.to_markdown(results_table(run.flat)), basis(run.flat)]
    parts.append(f"{_NOTE} {' '.join(verdict.caveats(flat)[:-1])}".strip())
    return domain.spoken("\n\n".join(parts)) + "\n"


def with_block(readme: str, block: str, *, begin: str = BEGIN, end: str = END) -> str:
    """The README's text with a generated block replaced.

    Args:
        readme: the whole text.
        block: what shall stand between the markers.
        begin, end: the two markers.

    Raises:
        StudyError: when the two markers are not there once each, in order.
    """
    if readme.count(begin) != 1 or readme.count(end) != 1 or readme.index(begin) > readme.index(end):
        raise StudyError(f"README.md must have the lines {begin!r} and {end!r} once each, in this order")
    before, rest = readme.split(begin)
    return f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"


def with_notebooks(readme: str) -> str:
    """The README's text with its table of notebooks renewed, where it has one."""
    if gallery.BEGIN not in readme and gallery.END not in readme:
        return readme
    return with_block(readme, gallery.block(), begin=gallery.BEGIN, end=gallery.END)


def update_readme(flat: Mapping[str, Any], domain: Domain = MOVIES) -> bool:
    """Renew the README's blocks; the file is written only where its text changes.

    Args:
        flat: metrics of notebook 07.
        domain: what items are called.

    Returns:
        Whether it changed.
    """
    path = config.ROOT / "README.md"
    if not path.is_file():
        raise StudyError(f"there is no {path}; restore it with `git checkout README.md`")
    old = path.read_text(encoding="utf-8")
    new = with_notebooks(with_block(old, readme_block(flat, domain)))
    if new != old:
        files.write_text(new, path)
    return new != old
