"""`python -m dualrec_utils.pipeline.notebooks lstm`: run a stage's notebook and keep its page.

The notebook gets its section of `params.yaml`, typed and with names checked: papermill alone lets a
misspelt name pass with a warning. The executed copy becomes `reports/notebooks/NN_<stage>.html`, see
:mod:`pipeline.export`: it has the same bytes whenever the results are the same.
"""

from __future__ import annotations

import argparse
import ast
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import export, params, running, stages
from dualrec_utils.pipeline.export import NotebookFailed

KERNEL = "python3"


def declared(notebook: nbformat.NotebookNode, name: str) -> dict[str, Any]:
    """Names and values of the one cell tagged `parameters`.

    Args:
        notebook: as read by nbformat.
        name: file name, for messages.

    Raises:
        StudyError: when there is not exactly one such cell, or it holds more than plain assignments.
    """
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        raise StudyError(f"{name} has {len(cells)} cells tagged `parameters`; it needs one code cell")
    values = {}
    try:
        for line in ast.parse(cells[0].source).body:
            if not (isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)):
                raise ValueError(ast.unparse(line))
            values[line.targets[0].id] = ast.literal_eval(line.value)
    except (SyntaxError, ValueError) as error:
        raise StudyError(
            f"the parameters cell of {name} may hold only `name = value` lines; it has: {error}"
        ) from None
    return values


def check_names(in_notebook: dict[str, Any], settings: dict[str, Any], name: str) -> None:
    """Refuse a notebook whose parameters are not exactly the settings' names.

    Raises:
        StudyError: naming those missing on either side.
    """
    unknown = sorted(set(settings) - set(in_notebook))
    unset = sorted(set(in_notebook) - set(settings))
    if unknown:
        raise StudyError(
            f"{name} has no parameter {', '.join(unknown)}, which params.yaml sets; its parameters cell"
            f" has {', '.join(in_notebook)}"
        )
    if unset:
        raise StudyError(
            f"params.yaml does not set {', '.join(unset)}, which the parameters cell of {name} has; it"
            f" sets {', '.join(settings)}"
        )


def run(source: Path, settings: dict[str, Any], *, page: Path, cwd: Path) -> None:
    """Run a notebook with `settings` and write its page; nothing is written when it fails.

    Args:
        source: the notebook; it is not changed.
        settings: value of every parameter.
        page: the HTML file to write.
        cwd: folder that the kernel starts in.

    Raises:
        StudyError: raised in a cell, or by the checks of the parameters.
        NotebookFailed: when a cell raises anything else or the kernel dies.
    """
    if not source.is_file():
        raise StudyError(f"there is no notebook {source}; restore it with `git checkout {source.name}`")
    notebook = nbformat.read(source, as_version=4)
    in_notebook = declared(notebook, source.name)
    check_names(in_notebook, settings, source.name)
    _use_own_kernel()
    with tempfile.TemporaryDirectory(prefix="dualrec-notebook-") as scratch:
        executed = Path(scratch) / source.name
        _execute(source, executed, settings, cwd)
        done = nbformat.read(executed, as_version=4)
    shown = export.cleaned(done, drop_injected=in_notebook == settings)
    files.write_text(export.to_html(shown, source.stem), page)


def _use_own_kernel() -> None:
    """Put this environment's kernels before those of the user's home folder."""
    own = str(Path(sys.prefix) / "share" / "jupyter")
    others = [path for path in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if path and path != own]
    os.environ["JUPYTER_PATH"] = os.pathsep.join([own, *others])


def _execute(source: Path, executed: Path, settings: dict[str, Any], cwd: Path) -> None:
    for noisy in ("papermill", "traitlets"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            source,
            executed,
            parameters=settings,
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
        # Counted from 1 in the source, which lacks the injected cell that papermill counts from 0.
        line = error.source.strip().splitlines()[0]
        raise NotebookFailed(
            f"cell {error.cell_index} of {source.name} (`{line}`) failed: {error.ename}: {error.evalue}"
        ) from None
    except DeadKernelError:
        raise NotebookFailed(f"the kernel of {source.name} died; it may have run out of memory") from None


def main() -> int:
    """Parse the command line and run the stage's notebook; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=[stage.name for stage in stages.STAGES if stage.notebook])
    name = parser.parse_args().stage
    notebook = stages.find(name).notebook
    page = config.NOTEBOOK_REPORTS / f"{Path(notebook).stem}.html"
    try:
        return running.carry_out(
            name,
            lambda: run(config.NOTEBOOKS / notebook, params.section(name), page=page, cwd=config.ROOT),
        )
    except NotebookFailed as error:
        print(f"dualrec: {name}: {error}", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
