"""Run a stage's notebook and keep its page.

The executed copy becomes `reports/notebooks/NN_<stage>.html`, one file that needs no network and has the
same bytes whenever the results are the same.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from pathlib import Path

import nbconvert
import nbformat
import papermill
from nbclient.exceptions import DeadKernelError

from dualrec_utils.core import files
from dualrec_utils.core.errors import StudyError

KERNEL = "python3"
# nbconvert's page asks for these from the network; empty means none.
_NO_SCRIPTS = {
    "mathjax_url": "",
    "require_js_url": "",
    "jquery_url": "",
    "mermaid_js_url": "",
    "mermaid_layout_elk_js_url": "",
    "widget_renderer_url": "",
    "jupyter_widgets_base_url": "",
}
# Lines of readable length, in the middle of the window.
_STYLE = "<style>main { max-width: 62rem; margin: 0 auto; }</style>"
_REMOTE = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//""", re.I)


class NotebookFailed(Exception):
    """A cell raised something else than a StudyError: a bug, shown with the kernel's traceback."""


def run(source: Path, *, page: Path, cwd: Path) -> None:
    """Run a notebook and write its page; nothing is written when it fails.

    The notebook reads its settings itself (:func:`pipeline.notebook.begin`).

    Args:
        source: the notebook; it is not changed.
        page: the HTML file to write.
        cwd: folder that the kernel starts in.

    Raises:
        StudyError: raised in a cell, or when there is no such notebook.
        NotebookFailed: when a cell raises anything else or the kernel dies.
    """
    if not source.is_file():
        raise StudyError(f"there is no notebook {source}; restore it with `git checkout {source.name}`")
    _use_own_kernel()
    with tempfile.TemporaryDirectory(prefix="dualrec-notebook-") as scratch:
        executed = Path(scratch) / source.name
        _execute(source, executed, cwd)
        done = nbformat.read(executed, as_version=4)
    files.write_text(to_html(cleaned(done), source.stem), page)


def _use_own_kernel() -> None:
    """Put this environment's kernels before those of the user's home folder."""
    own = str(Path(sys.prefix) / "share" / "jupyter")
    others = [path for path in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if path and path != own]
    os.environ["JUPYTER_PATH"] = os.pathsep.join([own, *others])


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
            # The kernel listens on this machine alone; its warning about that would open every run.
            extra_arguments=["--log-level=50"],
        )
    except papermill.PapermillExecutionError as error:
        if error.ename == "StudyError":
            raise StudyError(error.evalue) from None
        print("\n".join(error.traceback), file=sys.stderr)
        # Papermill counts from 0.
        line = error.source.strip().splitlines()[0]
        raise NotebookFailed(
            f"cell {error.cell_index + 1} of {source.name} (`{line}`) failed: {error.ename}: {error.evalue}"
        ) from None
    except DeadKernelError:
        raise NotebookFailed(f"the kernel of {source.name} died; it may have run out of memory") from None


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of an executed notebook without what differs from run to run: times, bars, papermill's notes."""
    cells = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        kept = nbformat.from_dict(cell)
        kept.id = f"cell-{len(cells)}"
        kept.metadata = {"tags": tags} if tags else {}
        if kept.cell_type == "code":
            kept.outputs = [
                out
                for out in kept.outputs
                if not (out.output_type == "stream" and out.get("name") == "stderr")
            ]
        cells.append(kept)
    metadata = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def to_html(notebook: nbformat.NotebookNode, title: str) -> str:
    """The notebook as one HTML page that loads nothing from the network.

    Raises:
        NotebookFailed: when an output of the notebook itself asks for something remote.
    """
    exporter = nbconvert.HTMLExporter(template_name="lab", embed_images=True, **_NO_SCRIPTS)
    exporter.exclude_input_prompt = True
    exporter.exclude_output_prompt = True
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    remote = _REMOTE.search(html)
    if remote:
        raise NotebookFailed(
            f"the page of {title} would load from the network: {html[remote.start() :][:120]}"
        )
    return html.replace("</head>", f"{_STYLE}</head>", 1)
