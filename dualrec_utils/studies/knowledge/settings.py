"""When does knowledge help? The study's name, its settings, and where it leaves what it finds.

It stands outside the pipeline and takes its settings from `params.yaml` beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params, schemas

STUDY = "knowledge"
NOTEBOOK = f"10_{STUDY}.ipynb"
PARAMS = Path(__file__).with_name("params.yaml")
_EVERYWHERE = "default"

_Share = Annotated[float, Field(gt=0, le=1)]


class Settings(schemas.Section):
    """Values of one data set, each explained in `params.yaml`."""

    models: dict[schemas.ModelName, schemas.LanguageModel]
    only_asked: dict[schemas.ModelName, schemas.LanguageModel] = Field(default_factory=dict)
    shares: list[_Share] = Field(min_length=1)
    n_draws: int = Field(ge=1, le=20)
    cpu_share: _Share
    n_users: int = Field(ge=1, le=100_000)
    n_cases: int = Field(ge=1, le=50)
    n_learned: int = Field(ge=2, le=1_000)
    n_epochs: int = Field(ge=1, le=100)
    batch_size: int = Field(ge=1, le=512)
    learning_rate: float = Field(gt=0, le=1)
    n_cold: int = Field(ge=1, le=10_000)
    least_ratings: int = Field(ge=1, le=10_000)
    cold_cases: int = Field(ge=1, le=1_000)
    n_probes: int = Field(ge=10, le=10_000)

    @property
    def pretrained(self) -> dict[str, schemas.LanguageModel]:
        """All pretrained models as loaded here (:func:`params.resolved`), those never tuned last."""
        return {
            name: schemas.LanguageModel(**params.resolved(entry.model_dump()))
            for name, entry in (self.models | self.only_asked).items()
        }

    def _faults(self):
        entries = self.models | self.only_asked
        if hosted := [name for name, model in entries.items() if model.backend != "local"]:
            yield f"models: {', '.join(hosted)}: only local models are tuned and rank the catalog"


def read_settings(dataset: str, path: Path | None = None) -> Settings:
    """The study's settings on a data set.

    Args:
        path: of the file; default :data:`PARAMS`.

    Raises:
        StudyError: on a value that is misspelt, missing or out of range, and as :func:`params.read_yaml`.
    """
    path = path or PARAMS
    values = params.read_yaml(path)
    differences = values.get(dataset) or {}
    try:
        if not isinstance(values.get(_EVERYWHERE), dict) or not isinstance(differences, dict):
            raise StudyError(f"{path} must hold a mapping `{_EVERYWHERE}`; it has {', '.join(values)}")
        return Settings.model_validate(params.overlay(values[_EVERYWHERE], differences))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise StudyError(f"{path} has values that cannot be used: {'; '.join(lines)}") from None


def settings() -> dict[str, Any]:
    """The notebook's own: `dataset` and `seed` of the run whose folder it is started in."""
    about = params.section("lstm")
    return {"dataset": about["dataset"], "seed": about["seed"]}


def pieces_dir(dataset: str) -> Path:
    """Folder of adapters in training and of the lists of every fitted model."""
    return config.checkpoints_dir(dataset, STUDY)
