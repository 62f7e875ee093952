"""What a notebook begins with: its section of `params.yaml`, and where it writes.

The pipeline runs a notebook with its settings as they stand in `params.yaml`. Opened by hand it reads the
same values, and what it writes goes to `data/by_hand/`: the pipeline's outputs stay as they are.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params, profiles
from dualrec_utils.pipeline.schemas import Intervals

# Set by the runner for the kernel: the stage whose notebook the pipeline runs.
RUN_BY_PIPELINE = "DUALREC_STAGE"


class Settings(SimpleNamespace):
    """Values of a section as attributes, `dataset`, `seed` and those of section `intervals` among them.

    `intervals` holds the keywords `seed`, `n_bootstrap` and `confidence` of every interval over users.
    A notebook shows the section's values as a table, each with what `params.yaml` says about it.
    """

    def _repr_html_(self) -> str:
        # Whole sentences: pandas would cut them at 50 characters and set them flush right.
        with pd.option_context("display.max_colwidth", None):
            html = _table(self).to_html(index=False, border=0, justify="left")
        return html.replace("<td>", '<td style="text-align: left">')


def _table(settings: Settings) -> pd.DataFrame:
    """`setting`, `value`, `meaning`: one row a setting, or one an entry of a setting that has several."""
    meanings = params.comments(settings.stage) if settings.stage in params.SECTIONS else {}
    hidden = {"stage", "intervals", *Intervals.model_fields}
    rows = []
    for name, value in vars(settings).items():
        if name in hidden:
            continue
        meaning = meanings.get(name, "")
        if isinstance(value, Mapping) and value:
            # Said once, beside the first entry.
            notes = [meaning, *[""] * (len(value) - 1)]
            entries = [(f"{name}: {key}", _as_text(entry)) for key, entry in value.items()]
            rows += [(*entry, note) for entry, note in zip(entries, notes, strict=True)]
        else:
            rows.append((name, _as_text(value), meaning))
    return pd.DataFrame(rows, columns=["setting", "value", "meaning"])


def _as_text(value: Any) -> str:
    """A value much as `params.yaml` writes it, without quotes and brackets."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_as_text(entry)}" for key, entry in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_as_text, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _write_by_hand(stage: str, dataset: str) -> None:
    """Let a stage write under `data/by_hand/`, with a copy of the pipeline's checkpoints to go on from.

    `dualrec finetune` and a stopped or finished run leave checkpoints that the notebook takes up.
    """
    os.environ.pop(config.BY_HAND, None)
    kept = config.checkpoints_dir(dataset, stage)
    os.environ[config.BY_HAND] = stage
    copy = config.checkpoints_dir(dataset, stage)
    # A study's notebook only reads what its study found.
    if stage in params.SECTIONS and kept.is_dir() and not copy.exists():
        with files.replacing(copy) as temporary:
            shutil.copytree(kept, temporary)


def begin(
    stage: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    values: Mapping[str, Any] | None = None,
) -> Settings:
    """Read a notebook's section of `params.yaml` and decide where it writes.

    Args:
        stage: the notebook's, such as `lstm`.
        overrides: values to try in place of those of `params.yaml`; checked as those are.
        values: of a study's notebook, which has a parameters file of its own; not checked again.

    Returns:
        The section's values, `dataset`, `seed`, and those of `intervals`.

    Raises:
        StudyError: on a value that cannot be used, as :func:`params.load`; on an override that the
            section does not have, or that stands in a notebook run by the pipeline.
    """
    profiles.check_place()
    overrides = dict(overrides or {})
    whole = params.load() if values else params.load(section=stage, overrides=overrides)
    if values is None:
        values = params.settings(whole, stage)
    elif unknown := set(overrides) - set(values):
        raise StudyError(
            f"notebook {stage} has no setting {', '.join(unknown)}; it has {', '.join(values)}"
        )
    else:
        values = {**values, **overrides}
    by_hand = os.environ.get(RUN_BY_PIPELINE) != stage
    if by_hand:
        _write_by_hand(stage, values["dataset"])
        print(
            f"Run by hand: this notebook writes under {config.ROOT / 'data' / 'by_hand'}; what the pipeline"
            " wrote stays as it is. Saved with outputs, the notebook counts as edited, and `make repro`"
            " runs its stage again: `make strip` takes them out."
        )
    elif overrides:
        raise StudyError(
            f"the pipeline runs notebook {stage} with params.yaml alone; its cell `overrides` has"
            f" {overrides}: empty it"
        )
    if whole.trial:
        print("A trial, no result: a slice of the data, few models, short training.")
    statistics = whole.intervals.model_dump()
    return Settings(
        stage=stage,
        intervals={
            "seed": whole.seed,
            **{key: statistics[key] for key in ("n_bootstrap", "confidence")},
        },
        **values,
        **statistics,
    )
