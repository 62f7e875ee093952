"""A model's answers in shards: cut, answered by whoever is there, written, taken up again and joined.

Ray itself is not here: in its place stands a worker of this process.
"""

import dataclasses
import json

import numpy as np
import pytest
from conftest import write_hints
from hypothesis import given, strategies as st
from tiny_models import tiny_mistral

from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.backends.replay import ReplayBackend
from dualrec_utils.models.language import batches, generation
from dualrec_utils.models.language.loading import load_model
from dualrec_utils.studies.shards import on_ray, pieces, run
from dualrec_utils.studies.shards.pieces import Piece

SETTINGS = {
    "dataset": "ml-100k",
    "seed": 0,
    "models": {
        "movielm": {
            "backend": "local",
            "model": "movielm",
            "revision": None,
            "dtype": "float32",
            "quantization": "none",
        },
        "v3": {"backend": "hosted", "model": "deepseek"},
    },
    "n_recent": 5,
    "n_titles": 3,
    "max_new_tokens": 8,
    "max_thinking_tokens": 0,
    "batch_size": 4,
}


def piece(*answers, began=0.0, ended=1.0):
    return Piece(list(answers), began, ended, {"device": "cpu"})


def backwards(calls):
    """Says every prompt in capitals, the last shard first; notes which shards it was given."""

    def ask(missing):
        calls.append(sorted(missing))
        for number in sorted(missing, reverse=True):
            yield number, piece(*map(str.upper, missing[number]))

    return ask


@given(lengths=st.lists(st.integers(1, 30), max_size=40), size=st.integers(1, 9))
def test_every_prompt_is_in_one_shard_and_comes_back_in_its_place(lengths, size):
    rows_of = batches.by_length(lengths, size=size)
    assert sorted(row for rows in rows_of for row in rows) == list(range(len(lengths)))
    assert all(len(rows) == size for rows in rows_of[:-1])
    by_shard = [lengths[row] for rows in rows_of for row in rows]
    assert by_shard == sorted(lengths)
    texts = [f"prompt {row}" for row in range(len(lengths))]
    assert pieces.join(rows_of, [[texts[row] for row in rows] for rows in rows_of]) == texts


def test_prompts_of_one_length_keep_their_order():
    assert batches.by_length([3, 1, 3, 1, 2], size=2) == [[1, 3], [4, 0], [2]]
    with pytest.raises(ValueError):
        pieces.join([[0, 1]], [["one answer"]])


def test_a_stopped_run_goes_on_with_what_is_missing(tmp_path):
    prompts, calls = [["a", "b"], ["c"], ["d", "e"]], []

    def stops(missing):
        for number, done in backwards(calls)(missing):
            if number == 0:
                raise StudyError("the machine went away")
            yield number, done

    with pytest.raises(StudyError, match="went away"):
        pieces.answer(prompts, tmp_path, stops, label="first")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00001.json", "00002.json"]
    for _ in range(2):
        done = pieces.answer(prompts, tmp_path, backwards(calls), label="again")
        assert [one.answers for one in done] == [["A", "B"], ["C"], ["D", "E"]]
    # The third time nothing is asked.
    assert calls == [[0, 1, 2], [0]]


def test_a_damaged_piece_is_named(tmp_path):
    (tmp_path / "00000.json").write_text('{"answers": ["A"')
    with pytest.raises(StudyError, match=r"00000\.json is cut short"):
        pieces.answer([["a"]], tmp_path, backwards([]), label="")


def test_seconds_are_counted_once_and_pauses_not_at_all():
    spans = [(20.0, 21.0), (0.0, 4.0), (1.0, 2.0), (3.0, 6.0)]
    assert pieces.busy_seconds(piece(began=began, ended=ended) for began, ended in spans) == 7.0


def test_every_worker_gets_what_fits_on_each_machine():
    two, eight = {"CPU": 2.0}, {"CPU": 8.0}
    assert on_ray.cores_each([two], 2) == (1, 0)
    assert on_ray.cores_each([eight, eight, {"memory": 1.0}], 2) == (8, 0)
    assert on_ray.cores_each([eight, eight], 3) == (4, 0)
    assert on_ray.cores_each([eight | {"GPU": 2.0}], 2) == (4, 1)
    # Five on three cores of one machine and two of the other: one core each.
    assert on_ray.cores_each([{"CPU": 3.0}, two], 5) == (1, 0)
    with pytest.raises(StudyError, match="3 workers cannot run at once: Ray has 2 cores"):
        on_ray.cores_each([two], 3)
    with pytest.raises(StudyError, match="2 workers cannot run at once: Ray has 1 GPUs"):
        on_ray.cores_each([eight | {"GPU": 1.0}], 2)


@pytest.fixture
def study(tiny):
    """A tiny study with a model and the LSTM's hints: its parts, and what opens the model."""
    tiny_mistral(config.stage_dir("ml-100k", "movielm"), chat=False)
    first = load_catalog("ml-100k").ids[0]
    for scope in predictions.scopes("ml-100k", "lstm"):
        write_hints(dict.fromkeys(predictions.load_cases(scope)["case_id"], first), scope)
    opening = run.opening_of("movielm", SETTINGS)
    return run.parts_of("movielm", SETTINGS, opening), opening


@pytest.mark.usefixtures("one_thread")
def test_answers_are_those_of_notebook_04_and_can_be_replayed(study, tmp_path):
    parts, opening = study
    assert len(parts) == 8 and max(len(part.shards) for part in parts) > 2
    worker = on_ray.Worker(opening, 1)

    def ask(missing):
        for number in reversed(missing):
            row = worker({"number": number, "prompts": np.array(missing[number], dtype=object)})
            assert row["problem"] == ""
            yield row["number"], Piece(**json.loads(row["piece"]))

    prompts = [[part.posed.texts[row] for row in rows] for part in parts for rows in part.shards]
    done = pieces.answer(prompts, tmp_path, ask, label="")
    paths = run.save(parts, done, name="movielm", model="movielm")
    assert run.as_notebook(paths, "ml-100k") == "not run"
    model, tokenizer = load_model(config.stage_dir("ml-100k", "movielm"))
    decoding = opening["decoding"]
    for path, part in zip(paths, parts, strict=True):
        whole = generation.generate(model, tokenizer, part.posed.texts, label="", **decoding)
        assert ReplayBackend(path).answer(part.posed.texts, label="") == whole
        stored = config.generations_dir("ml-100k", "zero_shot_llm") / path.name
        files.write_jsonl(files.read_jsonl(path), stored)
    assert run.as_notebook(paths, "ml-100k") == "yes"
    rows = files.read_jsonl(stored)
    files.write_jsonl([rows[0] | {"answer": "another"}, *rows[1:]], stored)
    assert run.as_notebook(paths, "ml-100k") == "no"


def test_changed_settings_prompts_or_weights_make_new_pieces(study):
    parts, opening = study
    names = [run.digest(parts, opening), run.digest(parts, opening)]
    longer = opening | {"decoding": opening["decoding"] | {"max_new_tokens": 9}}
    names.append(run.digest(parts, longer))
    posed = dataclasses.replace(parts[0].posed, texts=["another", *parts[0].posed.texts[1:]])
    names.append(run.digest([dataclasses.replace(parts[0], posed=posed), *parts[1:]], opening))
    tiny_mistral(config.stage_dir("ml-100k", "movielm"), chat=False, seed=1)
    names.append(run.digest(parts, opening))
    assert names[0] == names[1] and len(set(names)) == 4


def test_what_cannot_be_asked_is_said_before_anything_starts(study):
    for name in ("v3", "mistral"):
        with pytest.raises(StudyError, match=f"no local model '{name}'; it has movielm"):
            run.opening_of(name, SETTINGS)
    with pytest.raises(StudyError, match="'0' is no number of workers"):
        run.run_all("movielm", ["1", "0"])
    _, opening = study
    lost = opening | {"spec": opening["spec"] | {"model": "/nowhere/at/all"}}
    with pytest.raises(StudyError, match="tokenizer of /nowhere/at/all cannot be read"):
        run.parts_of("movielm", SETTINGS, lost)
    row = on_ray.Worker(lost, 1)({"number": 0, "prompts": ["a"]})
    assert row["piece"] == "" and "/nowhere/at/all" in row["problem"]
