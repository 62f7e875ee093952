"""The adapters of notebook 05: what each is taught, and its training from the parameters.

`accelerate launch -m dualrec_utils finetune [model ...]` trains them on several GPUs and leaves finished
checkpoints, from which the notebook then takes its adapters without training again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from dualrec_utils.core import config, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import ITEM
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import handoff
from dualrec_utils.models.finetuning import checkpoints, examples, lora, training
from dualrec_utils.models.language import chat, loading
from dualrec_utils.models.language.generation import LoadedModel

STAGE = "lora_finetuning"
Adjust = Callable[[PeftModel, PreTrainedTokenizerBase, list[dict]], list[dict]]
TRAIN, VALIDATION = "train", "validation"
# Endings of the adapters' names: the paper's, the control on other users' answers, without the LSTM's line.
LORA, PERMUTED, NO_HINT = "lora", "lora_permuted", "lora_no_hint"


def lessons(
    dataset: str,
    *,
    seed: int,
    n_recent: int,
    n_titles: int,
    n_users: int | None,
    training_hints: str = ITEM,
) -> dict[str, dict[str, pd.DataFrame]]:
    """What every adapter is taught: its ending -> split (`train`, `validation`) -> examples.

    Training users' hints come from an LSTM that has not seen them, as at test time. The control is
    taught other users' answers and validated on true ones.

    Args:
        dataset: with the products of the stages `data` and `lstm`.
        seed, n_recent, n_titles: as :func:`models.finetuning.examples.instruction_data`.
        n_users: training users, drawn by the seed; None, or more than there are, takes all.
        training_hints: column of :func:`models.handoff.load_example_hints`.

    Raises:
        StudyError: when a stage before has not run, or an example's user is not of its split.
    """
    catalog, user_splits = load_catalog(dataset), splits.load_splits(dataset)
    hints = {
        TRAIN: handoff.load_example_hints(dataset, TRAIN)[training_hints],
        VALIDATION: handoff.load_example_hints(dataset, VALIDATION)[ITEM],
    }

    def made(split: str, *, hinted: bool) -> pd.DataFrame:
        examples_of_all = examples.instruction_data(
            splits.load_histories(dataset, split),
            splits.load_earlier(dataset, split),
            catalog,
            user_splits,
            hints=hints[split] if hinted else None,
            seed=seed,
            n_recent=n_recent,
            n_titles=n_titles,
            split=split,
        )
        if split != TRAIN:
            return examples_of_all
        rows = np.random.default_rng(seed).permutation(len(examples_of_all))[:n_users]
        return examples_of_all.iloc[np.sort(rows)].reset_index(drop=True)

    taught = {split: made(split, hinted=True) for split in hints}
    return {
        LORA: taught,
        PERMUTED: taught | {TRAIN: examples.permute_answers(taught[TRAIN], seed=seed)},
        NO_HINT: {split: made(split, hinted=False) for split in hints},
    }


def right_hints(dataset: str) -> pd.Series:
    """How often the LSTM's hint is one of the next five items, for those who are trained on and validated.

    Returns:
        Shares by whose hints they are: training users' from an LSTM that has not seen them, from one that
        has, and validation users'.

    Raises:
        StudyError: when a stage before has not run.
    """
    given, checked = (handoff.load_example_hints(dataset, split) for split in (TRAIN, VALIDATION))
    hints = {
        "training users, cross-fitted (used here)": (TRAIN, given[ITEM]),
        "training users, in sample (not used)": (TRAIN, given[handoff.IN_SAMPLE]),
        "validation users": (VALIDATION, checked[ITEM]),
    }
    histories = {split: splits.load_histories(dataset, split) for split in (TRAIN, VALIDATION)}
    shares = {
        name: np.mean([item in histories[split][user][-splits.WINDOW :] for user, item in hint.items()])
        for name, (split, hint) in hints.items()
    }
    return pd.Series(shares, name="hint is among the next five").rename_axis("hints")


def _loaded(base: Mapping, *, dataset: str, adapter: str | None = None) -> tuple:
    """Model and tokenizer of an entry of `lora_finetuning.models`, with a saved adapter or without."""
    return loading.load_model(
        loading.locate(base["model"], dataset=dataset),
        **{key: base[key] for key in ("revision", "dtype", "quantization")},
        adapter=config.adapters_dir(dataset, STAGE) / adapter if adapter else None,
    )


def train_adapter(
    lesson: Mapping[str, pd.DataFrame],
    *,
    name: str,
    base: Mapping,
    settings: Mapping,
    stage: str = STAGE,
    adjust: Adjust | None = None,
) -> tuple[PeftModel, PreTrainedTokenizerBase, pd.DataFrame]:
    """Load the base, put an adapter on it and train it; goes on from its checkpoints where there are some.

    Args:
        lesson: from :func:`lessons`.
        name: of the adapter, `<model>_<ending>`; its checkpoints and its bar carry it.
        base: entry of `lora_finetuning.models`.
        settings: section `lora_finetuning` with `dataset` and `seed`.
        stage: under which the checkpoints lie.
        adjust: changes the model with its fresh adapter in place, and returns the encoded examples to train
            on in the place of those given.

    Returns:
        (model with the trained adapter, tokenizer, losses as from
        :func:`models.finetuning.training.train`).
    """
    # Several processes load a model each, every one onto its own GPU.
    checkpoints.processes()
    dataset, seed = settings["dataset"], settings["seed"]
    model, tokenizer = _loaded(base, dataset=dataset)
    train, validation = (
        examples.encode(lesson[split], tokenizer, max_tokens=settings["max_tokens"])
        for split in (TRAIN, VALIDATION)
    )
    adapted = lora.attach(model, **{key: settings[key] for key in ("rank", "alpha", "dropout")}, seed=seed)
    if adjust is not None:
        train = adjust(adapted, tokenizer, train)
    schedule = ("n_epochs", "batch_size", "accumulation", "learning_rate")
    means = ("precision", "gradient_checkpointing", "checkpoint_steps")
    curve = training.train(
        adapted,
        tokenizer,
        train,
        validation,
        seed=seed,
        label=name,
        checkpoints=config.checkpoints_dir(dataset, stage) / name,
        **{key: settings[key] for key in (*schedule, *means)},
    )
    return adapted, tokenizer, curve


def train_and_save(
    jobs: Mapping[str, tuple[str, str]],
    lessons_by_ending: Mapping[str, Mapping[str, pd.DataFrame]],
    *,
    models: Mapping[str, Mapping],
    settings: Mapping,
) -> pd.DataFrame:
    """Train every adapter, one after the other, and save it under its name.

    Args:
        jobs: name of the adapter -> (its model, ending of its lesson).
        lessons_by_ending: from :func:`lessons`.
        models: `lora_finetuning.models`.
        settings: as :func:`train_adapter`.

    Returns:
        Their losses, as from :func:`models.finetuning.training.train`, with the column `adapter`.
    """
    curves = []
    for name, (model, ending) in jobs.items():
        lesson, base = lessons_by_ending[ending], models[model]
        adapted, _, curve = train_adapter(lesson, name=name, base=base, settings=settings)
        lora.save(adapted, config.adapters_dir(settings["dataset"], STAGE) / name, base=base["model"])
        curves.append(curve.assign(adapter=name))
        # Before the next model is loaded.
        del adapted
    return pd.concat(curves, ignore_index=True)


def load(
    base: Mapping, *, dataset: str, decoding: Mapping[str, int], adapter: str | None = None
) -> LoadedModel:
    """A model with one of its adapters or without, ready to answer.

    Args:
        base: entry of `lora_finetuning.models`.
        decoding: `max_new_tokens`, `batch_size`, `n_lines` of :func:`models.language.generation.generate`.
        adapter: name of a saved adapter; None for the base alone.
    """
    model, tokenizer = _loaded(base, dataset=dataset, adapter=adapter)
    about = {"model": base["model"], "revision": base["revision"], "date": str(chat.DATE)}
    return LoadedModel(model, tokenizer, decoding, about | decoding)


def train_all(settings: Mapping, *, names: Sequence[str]) -> None:
    """Train every adapter of the named models, or go on with it, and leave finished checkpoints.

    Raises:
        StudyError: for a model that `lora_finetuning.models` does not have.
    """
    models = settings["models"]
    if unknown := [name for name in names if name not in models]:
        raise StudyError(f"lora_finetuning.models has no {unknown[0]!r}; it has {', '.join(models)}")
    wording = {key: settings[key] for key in ("seed", "n_recent", "n_titles", "n_users")}
    by_ending = lessons(settings["dataset"], **wording)
    for name in names or models:
        for ending, lesson in by_ending.items():
            train_adapter(lesson, name=f"{name}_{ending}", base=models[name], settings=settings)
