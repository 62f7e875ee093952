"""How a study outside the pipeline runs its notebook."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dualrec_utils.core import config
from dualrec_utils.pipeline import stages
from dualrec_utils.pipeline.notebook import RUN_BY_PIPELINE


def run_notebook(name: str, study: str) -> int:
    """Run a study's notebook on what the study has left, write its page and print where it lies.

    Args:
        name: file name of the notebook.
        study: its stage, as `pipeline.notebook.begin` takes it.

    Returns:
        0; 1 when a cell fails, after printing which.
    """
    # Papermill takes a second to import.
    from dualrec_utils.pipeline import notebooks

    os.environ.update(stages.ENVIRONMENT | {RUN_BY_PIPELINE: study})
    page = config.NOTEBOOK_REPORTS / f"{Path(name).stem}.html"
    try:
        notebooks.run(config.NOTEBOOKS / name, page=page, cwd=config.ROOT)
    except notebooks.NotebookFailed as error:
        print(f"dualrec: {study}: {error}", file=sys.stderr)
        return 1
    print(page)
    return 0
