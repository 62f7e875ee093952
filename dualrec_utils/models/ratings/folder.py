"""A trained rating model in a folder: numbers as safetensors, all else as JSON, and nothing beside them.

Neither format can hold code: a folder of somebody else's can be looked at without running anything of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dualrec_utils.core import files
from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings.base import Known, RatingModel

MODEL, WEIGHTS = "model.json", "weights.safetensors"
FILES = (MODEL, WEIGHTS)
_LIBRARIES = ("numpy", "scipy", "torch", "safetensors")
# What is not the model's own.
_ITEM_VECTORS = "item_vectors_of_texts"
_REMEDY = "train it again (`dualrec train`)"


@dataclass(frozen=True)
class About:
    """What `model.json` says.

    Attributes:
        model: a key of :data:`models.ratings.REGISTRY`.
        settings: other than the model's defaults.
        seed: of everything random in the model.
        data_sha256: of the data that it was trained on, see :class:`service.prepared.Summary`.
        weights_sha256: of the other file.
        versions: of the libraries that trained it.
    """

    model: str
    settings: dict[str, Any]
    seed: int
    data_sha256: str
    weights_sha256: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Trained:
    """A model folder, read.

    Attributes:
        about: what it is.
        model: fitted.
        item_vectors: sentence embeddings of the items' texts, shape (n_items, 384), ordered as items.
    """

    about: About
    model: RatingModel
    item_vectors: np.ndarray


def write(
    model: RatingModel,
    folder: Path,
    *,
    name: str,
    settings: Mapping[str, Any],
    item_vectors: np.ndarray,
    data_sha256: str,
) -> About:
    """Write a fitted model into a folder that is there and empty.

    Args:
        name, settings: what it was built with.
        item_vectors, data_sha256: as :class:`Trained` and :class:`About` have them.

    Raises:
        StudyError: when numbers of the model are not finite.
        NotSupported: when the model cannot be kept, see :meth:`RatingModel.state`.
    """
    from safetensors.numpy import save

    state = model.state() | {_ITEM_VECTORS: item_vectors}
    for key, array in state.items():
        if not np.isfinite(array).all():
            raise StudyError(
                f"training {name} ended with numbers in {key} that are not finite: lower its learning_rate,"
                " or leave its settings at their defaults"
            )
    # safetensors takes memory as it lies: the order of rows and columns must be the usual one.
    (folder / WEIGHTS).write_bytes(save({key: np.asarray(a, order="C") for key, a in state.items()}))
    about = About(
        model=name,
        settings=dict(settings),
        seed=model.seed,
        data_sha256=data_sha256,
        weights_sha256=files.sha256(folder / WEIGHTS),
        versions={library: version(library) for library in _LIBRARIES},
    )
    files.write_json(asdict(about), folder / MODEL)
    return about


def read(folder: Path, known: Known, *, data_sha256: str) -> Trained:
    """Read a folder that :func:`write` has filled.

    Args:
        known: items, users, tags and scale of the data that the model was trained on.
        data_sha256: of the data at hand.

    Raises:
        StudyError: where there is no model, files beside it, damaged files, or a model of other data.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not folder.is_dir():
        raise StudyError(
            f"there is no model folder {folder}: `dualrec train --output-dir {folder}` makes it"
        )
    there = sorted(path.name for path in folder.iterdir())
    if strange := [name for name in there if name not in FILES]:
        raise StudyError(
            f"{folder} holds {', '.join(strange[:5])}; a model folder holds {' and '.join(FILES)}, and"
            " nothing else is loaded: move the rest away, or name another folder"
        )
    if missing := [name for name in FILES if name not in there]:
        raise StudyError(f"{folder} lacks {' and '.join(missing)}: it holds no whole model; {_REMEDY}")
    about = files.read_json(folder / MODEL, About)
    if files.sha256(folder / WEIGHTS) != about.weights_sha256:
        raise StudyError(f"{folder / WEIGHTS} is damaged or of another model than {MODEL}: {_REMEDY}")
    if about.data_sha256 != data_sha256:
        raise StudyError(
            f"{folder} was trained on other data (checksum {about.data_sha256[:12]}) than those at hand"
            f" ({data_sha256[:12]}): name the --data-dir that it was trained on, or train on this one"
        )
    try:
        model = models.build(about.model, known, seed=about.seed, **about.settings)
        state = load_file(folder / WEIGHTS)
        return Trained(about, model.restore(state), state[_ITEM_VECTORS])
    # What another version of the model has written has other names, kinds or shapes.
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StudyError(
            f"{folder} does not fit this version of {about.model} ({first_line(error)}): {_REMEDY}"
        ) from error
