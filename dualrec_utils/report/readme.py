"""The README's results: a block between two markers, written from the metrics files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dualrec_utils.analysis import verdict
from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.report import first_screen, parts as page_parts
from dualrec_utils.report.text import basis, results_table
from dualrec_utils.show import tables
from dualrec_utils.show.markdown import as_text

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def readme_block(flat: Mapping[str, Any]) -> str:
    """What stands between the README's markers, the markers left out."""
    others = first_screen.other_runs()
    rows = page_parts.read_figure_4("next_item")
    note = (
        "Values are `value [low, high]`. `next_item`: the one next movie; `window_of_five`: any of the"
        " last five. A language model answers with three titles, so its HR@5 is HR@3; `catalog only` lists"
        " have ten. `seeds`: how many the values under `next_item` are means over; with 1 the interval"
        " covers users alone, and nothing is claimed."
    )
    sections = {
        "What was reproduced.": first_screen.reproduced(flat, others=others),
        "What was not, and why.": first_screen.not_reproduced(flat, rows=rows, others=others),
        "Which numbers to trust.": first_screen.trust(flat),
    }
    parts = [
        f"**What the study found.** {first_screen.summary(flat) or basis(flat)} {verdict.ORDER_CAVEAT}",
        tables.to_markdown(verdict.claims_table(flat)),
        *(
            "\n".join([f"**{title}**\n", *(f"- {as_text(line)}" for line in lines)])
            for title, lines in sections.items()
        ),
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


def update_readme(flat: Mapping[str, Any]) -> bool:
    """Renew the README's block; the file is written only where its text changes.

    Returns:
        Whether it changed.
    """
    path = config.ROOT / "README.md"
    if not path.is_file():
        raise StudyError(f"there is no {path}; restore it with `git checkout README.md`")
    old = path.read_text(encoding="utf-8")
    new = with_block(old, readme_block(flat))
    if new != old:
        files.write_text(new, path)
    return new != old
