"""The stages: which there are, how long each may take and took, and on what machine.

Nothing here changes a result, so no stage depends on this module.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from dualrec_utils.core import config, files, splits
from dualrec_utils.core.errors import StudyError

BUDGETS = "budgets.json"
# What the notebook kernels and the stages run with. Two programs that spin while they wait for each
# other's threads make a 2-core machine ten times slower, hence PASSIVE.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True)
class Stage:
    """One stage: its name (as in `dvc.yaml` and `params.yaml`) and the number of its notebook, if any.

    `needs` is a column of the interactions without any value of which it has nothing to work on.
    """

    name: str
    number: int | None = None
    needs: str | None = None

    @property
    def notebook(self) -> str | None:
        """File name of the notebook, e.g. `02_lstm.ipynb`."""
        return None if self.number is None else f"{self.number:02d}_{self.name}.ipynb"


STAGES = (
    Stage("data"),
    Stage("eda", 1),
    Stage("lstm", 2),
    Stage("baselines", 3),
    Stage("movielm"),
    Stage("zero_shot_llm", 4),
    Stage("lora_finetuning", 5),
    Stage("rerank_ablation", 6),
    Stage("results", 7),
    Stage("audit", 8),
    Stage("rating_hybrids", 11, needs=config.RATING),
    Stage("cold_start", 12, needs=config.RATING),
    Stage("online", 14, needs=config.TIMESTAMP),
    Stage("report"),
)
NAMES = tuple(stage.name for stage in STAGES)


def find(name: str) -> Stage:
    """The stage of that name.

    Raises:
        StudyError: naming the known stages.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise StudyError(f"there is no stage {name!r}; stages: {', '.join(NAMES)}")


def lacking(stage: Stage, dataset: str) -> str | None:
    """What the interactions of a data set lack and the stage needs: "ratings", "timestamps", or None."""
    if stage.needs is None or splits.load_interactions(dataset)[stage.needs].notna().any():
        return None
    return f"{stage.needs}s"


def budget(stage: Stage) -> int:
    """Seconds that a stage may take on 2 CPU cores.

    They stand in `budgets.json` beside the default run's `params.yaml`; a profile whose stages work longer
    has a file of its own for those.

    Raises:
        StudyError: when such a file names a stage that does not exist, or the stage has no budget.
    """
    seconds: dict[str, int] = {}
    for folder in (config.PACKAGE_ROOT, config.ROOT):
        path = folder / BUDGETS
        seconds |= files.read_json(path, dict[str, int], missing={})
    for name in seconds:
        find(name)
    if stage.name not in seconds:
        raise StudyError(f"{BUDGETS} names no budget of stage {stage.name}: bring it back (`git checkout`)")
    return seconds[stage.name]


def machine() -> dict[str, str | int]:
    """What a result's last digits depend on: processor, cores, Python, torch and, with one, `gpu`."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        **_gpu(),
    }


def _gpu() -> dict[str, str]:
    """`gpu`: the name of the one that torch computes on; empty without one."""
    # Importing torch takes seconds; a machine without NVIDIA's driver need not wait for them.
    if shutil.which("nvidia-smi") is None:
        return {}
    import torch

    return {"gpu": torch.cuda.get_device_name(0)} if torch.cuda.is_available() else {}


def _cpu_model() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def last_seconds(stage: Stage) -> float | None:
    """Seconds that the stage took when it last succeeded, or None."""
    path = config.TIMINGS / f"{stage.name}.json"
    return files.read_json(path, files.Timing, missing=files.Timing()).seconds


def headline(stage: Stage) -> str:
    """`[3/11] lstm: budget 300 s, last time 142 s; at most about 35 min left of the whole run`.

    What is left counts this stage and the ones after it with their last times, or their budgets where
    none is known; DVC may skip some of them.
    """
    place = STAGES.index(stage)
    last = last_seconds(stage)
    left = 0.0
    for one in STAGES[place:]:
        taken = last_seconds(one)
        left += budget(one) if taken is None else taken
    before = "not run here before" if last is None else f"last time {last:.0f} s"
    rest = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
    return (
        f"[{place + 1}/{len(STAGES)}] {stage.name}: budget {budget(stage)} s, {before};"
        f" at most about {rest} left of the whole run"
    )
