"""Free-form generation with any Hugging Face causal language model, and answers made into predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from dualrec_utils import config, files, predictions
from dualrec_utils.config import CASE, HISTORY, ITEM, RANK, SCORE, SEED, TEXT
from dualrec_utils.errors import StudyError
from dualrec_utils.matching import TitleMatcher
from dualrec_utils.prompts import ANSWER_PREFIX, parse_titles

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


def load_model(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    adapter: str | Path | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer, ready to generate (padding on the left).

    Args:
        path_or_id: folder, or id on the Hugging Face Hub.
        revision: Hub commit, tag or branch; None for a folder or the newest.
        dtype: `float32`, `bfloat16` or `float16`.
        adapter: folder of a LoRA adapter to put on top.

    Returns:
        (model in evaluation mode, on the GPU if there is one; tokenizer).

    Raises:
        StudyError: for an unknown dtype, a folder without model or tokenizer, an id that the Hub does
            not have or that cannot be reached, an adapter folder without adapter.
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise StudyError(f"dtype {dtype!r} is unknown; allowed: float32, bfloat16, float16")
    folder = Path(path_or_id)
    if folder.is_absolute() or folder.exists():
        _check_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path_or_id, revision=revision, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(
            path_or_id, revision=revision, dtype=getattr(torch, dtype)
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"no language model {str(path_or_id)!r} (revision {revision}): {reason}. Give a folder that"
            " holds model and tokenizer, or the id of a model on the Hugging Face Hub while online"
        ) from error
    if adapter is not None:
        model = _with_adapter(model, Path(adapter))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def locate(name: str, *, dataset: str) -> str:
    """What a parameter `model` stands for: `movielm` is the study's own model, else a folder or Hub id."""
    return str(config.model_dir(dataset, "movielm")) if name == "movielm" else name


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise StudyError(
            f"{folder} holds no language model (no config.json): run `dvc repro movielm` first"
        )
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise StudyError(
            f"{folder} holds a model without its tokenizer (none of {list(_TOKENIZER_FILES)}):"
            " save the tokenizer there too"
        )


def _with_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    if not (folder / "adapter_config.json").is_file():
        raise StudyError(f"{folder} holds no adapter: run `dvc repro lora_finetuning` first")
    # peft takes seconds to import and only adapters need it.
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder)


class _EnoughLines(StoppingCriteria):
    """Ends a sequence once its answer holds `n_lines` complete, non-empty lines."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, start: int, n_lines: int):
        self.tokenizer, self.start, self.n_lines = tokenizer, start, n_lines

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs) -> torch.Tensor:
        answers = self.tokenizer.batch_decode(input_ids[:, self.start :], skip_special_tokens=True)
        complete = [sum(bool(line.strip()) for line in text.split("\n")[:-1]) for text in answers]
        return torch.tensor([n >= self.n_lines for n in complete], device=input_ids.device)


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    label: str,
    answer_prefix: str = ANSWER_PREFIX,
    n_lines: int = 3,
) -> list[str]:
    """Greedy answers. Prompts of like length share a batch, so that reruns pad and answer alike.

    Args:
        prompts: from :func:`dualrec_utils.prompts.build_prompts`.
        max_new_tokens: longest answer in tokens, the prefix not counted.
        batch_size: prompts answered at once.
        label: shown beside the progress bar.
        answer_prefix: put after every prompt and kept as the beginning of every answer.
        n_lines: an answer stops after so many complete lines.

    Returns:
        One answer a prompt, in the order given, beginning with `answer_prefix`.
    """
    if not prompts:
        return []
    encoded = tokenizer([prompt + answer_prefix for prompt in prompts])["input_ids"]
    order = sorted(range(len(prompts)), key=lambda row: (len(encoded[row]), row))
    answers: list[str] = [""] * len(prompts)
    with torch.inference_mode(), tqdm(total=len(prompts), desc=label, unit="prompt") as bar:
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = tokenizer.pad({"input_ids": [encoded[row] for row in rows]}, return_tensors="pt")
            start = batch["input_ids"].shape[1]
            output = model.generate(
                **batch.to(model.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList(
                    [_EnoughLines(tokenizer, start=start, n_lines=n_lines)]
                ),
            )
            texts = tokenizer.batch_decode(output[:, start:], skip_special_tokens=True)
            for row, text in zip(rows, texts, strict=True):
                answers[row] = answer_prefix + text
            bar.update(len(rows))
    return answers


def answers_to_predictions(
    answers: Sequence[str],
    cases: pd.DataFrame,
    matcher: TitleMatcher,
    *,
    seed: int,
    limit: int = 3,
    hints: pd.Series | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read answers as ranked lists; nothing is dropped, so movies of the history are still there.

    Args:
        answers: one text a case, in the order of `cases`.
        cases: frame with `case_id`, `history`.
        matcher: text to movie.
        seed: written into the `seed` column.
        limit: titles read of each answer.
        hints: `case_id` -> movie the prompt suggested, to count copies of it.

    Returns:
        (predictions, diagnostics). Predictions are in the shape of :mod:`dualrec_utils.predictions`:
        `text` is the title as written, `item_id` null where it matches no movie, score 1 / rank; a
        repeated title keeps its place. Diagnostics have one row a case: `case_id`, `n_titles` read,
        `n_unparsable` (titles asked for and not found in the answer), `n_unmatched`, `n_seen` (in the
        history), `n_repeated` (matching a movie named before), `copies_hint` (names the suggested
        movie; False without hints).

    Raises:
        ValueError: when answers and cases are not equally many.
    """
    rows, counts = [], []
    for answer, case, history in zip(answers, cases[CASE], cases[HISTORY], strict=True):
        titles = parse_titles(answer, limit=limit)
        items = [matcher.match(title) for title in titles]
        matched = [item for item in items if item is not None]
        seen = set(history)
        rows += [
            (case, rank, item, 1 / rank, title, seed)
            for rank, (title, item) in enumerate(zip(titles, items, strict=True), start=1)
        ]
        counts.append(
            {
                CASE: case,
                "n_titles": len(titles),
                "n_unparsable": limit - len(titles),
                "n_unmatched": len(titles) - len(matched),
                "n_seen": sum(item in seen for item in matched),
                "n_repeated": len(matched) - len(set(matched)),
                "copies_hint": hints is not None and hints[case] in matched,
            }
        )
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM, SCORE, TEXT, SEED])
    return frame.astype(predictions.COLUMNS), pd.DataFrame(counts)


def load_hints(dataset: str, protocol: str, split: str) -> pd.Series:
    """The LSTM's best movie not yet seen for every case: `case_id` -> `item_id`.

    Raises:
        StudyError: when the LSTM has not written them.
    """
    path = config.model_dir(dataset, "lstm") / f"hints_{protocol}_{split}.parquet"
    return files.read_parquet_of("lstm", path).set_index(CASE)[ITEM]


def write_both(
    lists: pd.DataFrame,
    cases: pd.DataFrame,
    system: str,
    *,
    dataset: str,
    stage: str,
    protocol: str,
    split: str,
) -> None:
    """Write a system's headline lists (movies of the history dropped) and, beside them, all it named.

    Args:
        lists: predictions with seen movies kept, from :func:`answers_to_predictions`.
        cases: the cases answered.
        system: name of the headline lists; the others get the suffix `_seen_kept`.
    """
    place = {"dataset": dataset, "stage": stage, "protocol": protocol, "split": split}
    predictions.write(lists, system + predictions.SEEN_KEPT, **place)
    predictions.write(predictions.drop_seen(lists, cases), system, **place)


def save_generations(
    answers: Sequence[str],
    prompts: Sequence[str],
    cases: pd.DataFrame,
    system: str,
    *,
    dataset: str,
    stage: str,
    protocol: str,
    split: str,
    model: str,
    revision: str | None,
    parameters: dict,
) -> Path:
    """Write every prompt and raw answer as one JSON object a line.

    Args:
        answers, prompts: in the order of `cases`.
        model, revision: what answered; a folder's name, or a Hub id with its revision.
        parameters: of prompt and generation, e.g. `max_new_tokens`, `batch_size`.

    Returns:
        `data/generations/<dataset>/<stage>/<system>_<protocol>_<split>.jsonl`.
    """
    about = {"model": model, "revision": revision, "parameters": parameters}
    rows = [
        {CASE: case, "prompt": prompt, "answer": answer, **about}
        for case, prompt, answer in zip(cases[CASE], prompts, answers, strict=True)
    ]
    path = config.generations_dir(dataset, stage) / f"{system}_{protocol}_{split}.jsonl"
    return files.write_jsonl(rows, path)
