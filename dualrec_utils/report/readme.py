"""What stage `report` writes into the README between markers, and `reports/results.md`.

Results come from the metrics files, the table of notebooks from :mod:`report.gallery`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dualrec_utils.analysis import verdict
from dualrec_utils.core import config, files
from dualrec_utils.core.domain import MOVIES, Domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.report import first_screen, gallery, parts as page_parts
from dualrec_utils.report.first_figure import rows_of
from dualrec_utils.report.text import basis, results_table
from dualrec_utils.show import tables
from dualrec_utils.show.markdown import as_text

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
RESULTS = "results.md"
FIGURE = "reports/figures/report/first.png"
# Where what is said of equal times begins: it stands on the page, and the README has few words.
_TIES = " Many ratings have the same time."
# Columns of the README's table.
_SHORT = ("system", "next_item HR@1", "next_item HR@5", "seeds")
_NOTE = (
    "Values are `value [low, high]`. `next_item`: the next movie; `window_of_five`: any of the last five."
    " A language model answers with three titles, so its HR@5 is HR@3; `catalog only` lists have ten."
    " `seeds`: the `next_item` values are means over so many; with 1 the interval covers only users, and"
    " nothing is claimed."
)


def readme_block(flat: Mapping[str, Any], domain: Domain = MOVIES) -> str:
    """What stands between the README's markers, the markers left out, in the words of the data set."""
    first, *rest = first_screen.findings(flat) or [basis(flat)]
    blocks = [f"**{first}**"]
    if rest:
        blocks.append("\n".join(f"- {_labelled(line.partition(_TIES)[0])}" for line in rest))
    if "next_item/lstm/n_cases" in flat:
        names = [name for name in rows_of(flat) if name in _of_readme(flat)]
        blocks += [
            f"![How often each system names the next movie]({FIGURE})",
            tables.to_markdown(results_table(flat, names=names)[list(_SHORT)]),
            f"{flat['next_item/lstm/n_cases']:,} cases of {flat['next_item/lstm/n_users']} test users, seen"
            f" movies excluded, {flat['confidence']:.0%} intervals over users and seeds (“Asking”"
            " and “The leak”: one seed)."
            f" {first_screen.order_caveat(flat)}[All results](reports/{RESULTS}).",
        ]
    return domain.spoken("\n\n".join(blocks))


def _labelled(line: str) -> str:
    """A finding whose subject, up to the first colon, stands out."""
    subject, colon, rest = line.partition(":")
    return f"**{subject}:**{rest}" if colon else line


def _of_readme(flat: Mapping[str, Any]) -> set[str]:
    """The five systems of the README's table."""
    model = verdict.model_of(flat)
    order_aware = str(flat.get("claims/1/system", "gru4rec"))
    return {"ease", order_aware, "lstm", f"{model}_lora_reranked", "dualrec_fusion"}


def results_page(flat: Mapping[str, Any], domain: Domain = MOVIES) -> str:
    """`reports/results.md`: the claims, what was and was not reproduced, what to trust, the systems."""
    others = first_screen.other_runs()
    rows = page_parts.read_figure_4("next_item")
    sections = {
        "What was reproduced": first_screen.reproduced(flat, others=others),
        "What was not, and why": first_screen.not_reproduced(flat, rows=rows, others=others),
        "Which numbers to trust": first_screen.trust(flat),
    }
    parts = [
        "# Results",
        "Written by stage `report` from the metrics files. With figures: `index.html` in this folder.",
        f"{first_screen.summary(flat) or basis(flat)} {first_screen.order_caveat(flat)}".strip(),
        "## The claims",
        tables.to_markdown(verdict.claims_table(flat)),
    ]
    if rated := page_parts.rating_claims(str(flat.get("dataset", ""))):
        parts.append(tables.to_markdown(pd.DataFrame(rated).drop(columns="settled")))
    for title, lines in sections.items():
        parts += [f"## {title}", "\n".join(f"- {as_text(line)}" for line in lines)]
    parts += [
        "## The systems",
        tables.to_markdown(results_table(flat)),
        f"{basis(flat)} {_NOTE} {' '.join(verdict.caveats(flat)[:-1])}".strip(),
    ]
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
