"""Run a stage's notebook and keep its page and its executed copy.

They become `reports/notebooks/NN_<stage>.html` and, to be committed, `NN_<stage>.ipynb` beside it, see
:mod:`pipeline.export`; both have the same bytes whenever the results are the same.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from copy import deepcopy
from pathlib import Path

import nbformat
import papermill
from nbformat import NotebookNode

from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.domain import MOVIES, Domain
from dualrec_utils.core.errors import StudyError, explained, first_line, number
from dualrec_utils.pipeline import export
from dualrec_utils.pipeline.export import NotebookFailed

KERNEL = "python3"
# Begins the one cell of a notebook that was left out.
LEFT_OUT = "**Left out:**"
# Of an output, what may hold no titles: the head of a table in HTML; in Markdown the lines of text and the
# head of a table. Code between fences is matched as a whole, to be left alone.
_HEAD = re.compile(r"<thead>.*?</thead>", re.DOTALL)
_LINES = re.compile(r"^(?P<code>`{3,})[^\n]*\n.*?^(?P=code)$|(?<!\|\n)^[^\n]*$", re.DOTALL | re.MULTILINE)
# What a cell calls where its Markdown holds titles.
_WITH_TITLES = "as_text"


def run(source: Path, *, page: Path, cwd: Path, domain: Domain = MOVIES) -> None:
    """Run a notebook and write its page and its copy; nothing is written when it fails.

    The notebook reads its settings itself (:func:`pipeline.notebook.begin`).

    Args:
        source: the notebook; it is not changed.
        page: the HTML file to write; the copy is called alike, with the ending of a notebook.
        cwd: folder that the kernel starts in.
        domain: what items are called: readings and heads of tables take these words.

    Raises:
        StudyError: raised in a cell, as an error of the operating system too, or when there is no such
            notebook or it is damaged.
        NotebookFailed: when a cell raises anything else, the kernel dies or the page may not be shown.
    """
    _read(source)
    # This environment's kernels and page templates, and none of the user's home folder.
    os.environ |= dict.fromkeys(
        ("JUPYTER_PATH", "JUPYTER_DATA_DIR"), str(Path(sys.prefix, "share/jupyter"))
    )
    with tempfile.TemporaryDirectory(prefix="dualrec-notebook-") as scratch:
        executed = Path(scratch) / source.name
        _execute(source, executed, cwd)
        done = _linked_from(page, nbformat.read(executed, as_version=4), source)
    done = in_words(done, domain)
    html, copy = export.to_html(done, source.stem), export.to_copy(done, source.stem)
    files.write_text(html, page)
    files.write_text(copy, page.with_suffix(".ipynb"))


def leave_out(source: Path, reason: str, *, page: Path, stage: str, dataset: str) -> None:
    """Write what a stage leaves where the data lack what it works on.

    Its page, and the copy to commit, are the notebook's question and the reason; its folders are empty, its
    metrics say where the data come from.

    Args:
        source: the stage's notebook.
        reason: a sentence, in Markdown.
        page: the HTML file to write.
        stage, dataset: of the run.

    Raises:
        StudyError: when there is no such notebook or it is damaged.
    """
    left = _read(source)
    for folder in (config.stage_dir(dataset, stage), config.figures_dir(stage), config.tables_dir(stage)):
        folder.mkdir(parents=True, exist_ok=True)
    evaluation.write_metrics(stage, {}, dataset=dataset)
    left = _linked_from(page, left, source)
    # With an id of its own the copy would differ from run to run.
    left.cells = [left.cells[0], nbformat.v4.new_markdown_cell(f"{LEFT_OUT} {reason}", id="left-out")]
    files.write_text(export.to_html(left, source.stem), page)
    files.write_text(export.to_copy(left, source.stem), page.with_suffix(".ipynb"))


def _read(source: Path) -> NotebookNode:
    """A notebook as it lies in its file."""
    restore = f"restore it with `git checkout {source}`"
    if not source.is_file():
        raise StudyError(f"there is no notebook {source}; {restore}")
    try:
        notebook = nbformat.read(source, as_version=4)
    except OSError:
        raise
    # Each kind of damage fails in its own way.
    except Exception as error:
        raise StudyError(f"{source} is damaged and no notebook ({first_line(error)}): {restore}") from error
    if not notebook.cells:
        raise StudyError(f"{source} is damaged: it has no cells; {restore}")
    return notebook


def _linked_from(page: Path, notebook: NotebookNode, source: Path) -> NotebookNode:
    """The notebook with links out of its folder that lead to the same files from the page's folder."""
    moved, up = deepcopy(notebook), os.path.relpath(source.resolve().parents[1], page.parent.resolve())
    for cell in moved.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", f"]({Path(up).as_posix()}/")
    return moved


def in_words(notebook: NotebookNode, domain: Domain) -> NotebookNode:
    """An executed notebook with readings and heads of tables in the words of its data.

    The text stays as it was written, in the words of `MOVIES`, and says so. So does what may hold titles:
    the body of a table, what is printed, and Markdown of a cell that writes titles into it. Code is shown
    as it is.
    """
    if domain == MOVIES:
        return notebook

    def other_words(part: re.Match) -> str:
        return part[0] if part.groupdict().get("code") else domain.spoken(part[0])

    spoken = deepcopy(notebook)
    line = f"**This run is about {domain.items}:** where the text says {MOVIES.item}, read {domain.item}."
    spoken.cells[0].source += f"\n\n{line}"
    for cell in spoken.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/markdown" in data and _WITH_TITLES not in cell.source:
                data["text/markdown"] = _LINES.sub(other_words, data["text/markdown"])
            if "text/html" in data:
                data["text/html"] = _HEAD.sub(other_words, data["text/html"])
    return spoken


def _execute(source: Path, executed: Path, cwd: Path) -> None:
    for noisy in ("papermill", "traitlets"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            source,
            executed,
            kernel_name=KERNEL,
            cwd=cwd,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            start_timeout=120,
            # A kernel warns that it listens on this machine alone: that would open every run. An empty
            # folder takes the place of the user's profiles, which may change what a cell prints.
            extra_arguments=[
                "--log-level=50",
                f"--IPKernelApp.ipython_dir={executed.parent}",
                "--IPKernelApp.exec_PYTHONSTARTUP=False",
            ],
        )
    except papermill.PapermillExecutionError as error:
        if error.ename == "StudyError":
            raise StudyError(error.evalue) from None
        if number(error.evalue) is not None:
            raise StudyError(explained(error.evalue)) from None
        print("\n".join(error.traceback), file=sys.stderr)
        # Papermill counts from 0.
        line = error.source.strip().splitlines()[0]
        raise NotebookFailed(
            f"cell {error.cell_index + 1} of {source.name} (`{line}`) failed: {error.ename}: {error.evalue}"
        ) from None
    except RuntimeError:
        # As it starts, or later.
        raise NotebookFailed(f"the kernel of {source.name} died; it may have run out of memory") from None
