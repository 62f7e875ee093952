"""Batches of prompts that a stopped run keeps: none is done twice, none is taken that has changed."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny_models
import torch
from hypothesis import given, strategies as st

from dualrec_utils.core import closure
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import lora
from dualrec_utils.models.language import batches, constrained, generation, loading
from dualrec_utils.models.language.batches import Keeping

LABEL = "tiny next_item test"


@pytest.fixture
def pair(tmp_path):
    return loading.load_model(tiny_models.tiny_mistral(tmp_path / "model", chat=False))


def lengths(encoded, rows):
    return [[len(encoded[row]), row] for row in rows]


@given(sizes=st.lists(st.integers(1, 9), max_size=30), batch_size=st.integers(1, 7))
def test_results_come_back_in_the_order_of_the_prompts(sizes, batch_size):
    encoded = [[1] * size for size in sizes]
    seen = []

    def work(rows):
        seen.append(len(rows))
        return lengths(encoded, rows)

    assert batches.run(encoded, work, batch_size=batch_size, label="x") == lengths(
        encoded, range(len(sizes))
    )
    assert sum(seen) == len(sizes) and all(n == batch_size for n in seen[:-1])


def test_a_stopped_run_does_only_what_is_missing(pair, tmp_path):
    encoded = [[1] * size for size in (3, 1, 2, 5, 4)]
    keeping, done = Keeping(tmp_path / "kept", pair[0]), []

    def stops(rows):
        if len(done) == 2:
            raise RuntimeError("stopped")
        done.append(rows)
        return lengths(encoded, rows)

    with pytest.raises(RuntimeError):
        batches.run(encoded, stops, batch_size=2, label=LABEL, keeping=keeping)
    assert done == [[1, 2], [0, 4]]

    def goes_on(rows):
        done.append(rows)
        return lengths(encoded, rows)

    whole = batches.run(encoded, goes_on, batch_size=2, label=LABEL, keeping=keeping)
    assert whole == lengths(encoded, range(5)) and done[2:] == [[3]]
    # Another label is another piece of work.
    batches.run(encoded, goes_on, batch_size=2, label="other", keeping=keeping)
    assert done[3:] == [[1, 2], [0, 4], [3]]


CHANGES = ("weight", "configuration", "scale", "processor", "prompt", "batch_size", "setting", "code")


@pytest.mark.parametrize("changed", CHANGES)
def test_what_was_made_otherwise_is_made_anew(pair, tmp_path, monkeypatch, capsys, changed):
    encoded, options = [[1], [2, 3]], {"batch_size": 2, "label": LABEL}
    model = lora.attach(pair[0], rank=2, alpha=4, dropout=0.0, seed=0)
    keeping, n_done = Keeping(tmp_path / "kept", model, {"k": 5, "many": (1, 2)}), []

    def work(rows):
        n_done.append(len(rows))
        return [0 for _ in rows]

    batches.run(encoded, work, keeping=keeping, **options)
    batches.run(encoded, work, keeping=keeping, **options)
    # Training leaves this behind; no result depends on it.
    model.config.use_cache = not model.config.use_cache
    batches.run(encoded, work, keeping=keeping, **options)
    assert n_done == [2] and "anew" not in capsys.readouterr().err
    if changed == "weight":
        with torch.no_grad():
            next(weight for name, weight in model.named_parameters() if "lora_B" in name)[0, 0] += 1e-3
    elif changed == "configuration":
        model.config.rms_norm_eps *= 2
    elif changed == "scale":
        model.peft_config["default"].lora_alpha *= 2
    elif changed == "processor":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    elif changed == "prompt":
        encoded = [[1], [2, 4]]
    elif changed == "batch_size":
        options["batch_size"] = 3
    elif changed == "setting":
        keeping = Keeping(keeping.folder, model, {"k": 6, "many": (1, 2)})
    else:
        batches._code.cache_clear()
        monkeypatch.setattr(closure, "digest", lambda *_, **__: "another")
    batches.run(encoded, work, keeping=keeping, **options)
    assert n_done == [2, 2] and "begins anew" in capsys.readouterr().err
    assert len(list(keeping.folder.iterdir())) == 1
    batches._code.cache_clear()


def test_two_runs_at_once_never_take_each_others_batches(pair, tmp_path):
    """The second begins, with other settings, while the first is at work."""
    encoded, folder = [[1], [2], [3]], tmp_path / "kept"
    about = {"batch_size": 1, "label": LABEL}
    first, second = (Keeping(folder, pair[0], {"k": k}) for k in (1, 2))

    def of_first(rows):
        if rows == [1]:
            assert batches.run(encoded, lambda rows: ["second"], keeping=second, **about) == ["second"] * 3
        return ["first"]

    assert batches.run(encoded, of_first, keeping=first, **about) == ["first"] * 3
    assert batches.run(encoded, lambda rows: ["second"], keeping=second, **about) == ["second"] * 3


@pytest.mark.parametrize("labels", [("a: b", "a b"), ("", "x"), ("фильм", "кино"), ("x" * 300, "y" * 300)])
def test_any_label_has_a_folder_and_takes_nothing_of_another(pair, tmp_path, labels):
    keeping = Keeping(tmp_path / "kept", pair[0])
    for label in (*labels, *labels):
        some = batches.run(
            [[1]], lambda rows, label=label: [label], batch_size=1, label=label, keeping=keeping
        )
        assert some == [label]


PROMPTS = ["a user has seen Heat", "a user has seen Big and Heat", "a user has seen Antz"]
TITLES = ["Heat", "Alien", "Alien 3", "Fargo", "Antz", "Big"]


def catalog_of(titles):
    years = pd.array([1990 + number for number in range(len(titles))], dtype="Int64")
    items = {"item_id": range(1, len(titles) + 1), "title": titles, "year": years}
    return Catalog.of(pd.DataFrame(items | {"genres": [["Drama"]] * len(titles)}))


GENERATE = {
    "max_new_tokens": 5, "n_lines": 2, "batch_size": 3, "answer_prefix": "-- ", "prompts": PROMPTS[::-1]
}  # fmt: skip
RANK = {
    "k": 3, "width": 7, "method": "beam", "genres": True, "batch_size": 3, "excluded": [[1], [], []],
    "catalog": catalog_of([*TITLES[:-1], "Small"]),
}  # fmt: skip
SCORE = {"titles_at_once": 2, "genres": True, "batch_size": 3, "candidates": [[1, 2, 3]] * 3}


def count(monkeypatch):
    """How many batches were read by the model."""
    read = []

    def counted(function):
        def wrapped(*given, **named):
            read.append(1)
            return function(*given, **named)

        return wrapped

    monkeypatch.setattr(generation, "_follow", counted(generation._follow))
    monkeypatch.setattr(constrained.TitleTree, "read", counted(constrained.TitleTree.read))
    return read


@pytest.mark.parametrize(
    ("function", "changes"),
    [
        pytest.param(function, {name: value}, id=f"{function.__name__}-{name}")
        for function, all_changes in (
            (generation.generate, GENERATE),
            (constrained.rank_titles, RANK),
            (constrained.score_titles, SCORE),
        )
        for name, value in all_changes.items()
    ],
)
def test_everything_that_decides_an_answer_or_a_list_counts(pair, tmp_path, monkeypatch, function, changes):
    read = count(monkeypatch)
    given = {"prompts": PROMPTS, "catalog": catalog_of(TITLES), "batch_size": 2}
    given |= {"max_new_tokens": 4, "n_lines": 3} if function is generation.generate else {}
    given |= {"k": 2, "method": "exact", "width": 8} if function is constrained.rank_titles else {}

    def result_of(kept, **other):
        named = given | other
        texts, catalog = named.pop("prompts"), named.pop("catalog")
        more = () if function is generation.generate else (catalog,)
        read.clear()
        result = function(*pair, texts, *more, label="asked", kept=kept, **named)
        return result if isinstance(result, list) else result.tolist()

    # Checks of the model on its first use read batches too.
    plain, plain_other = result_of(None), result_of(None, **changes)
    assert result_of(tmp_path) == plain and len(read) == 2
    assert result_of(tmp_path) == plain and not read
    assert result_of(tmp_path, **changes) == plain_other and read


def test_the_code_that_counts_is_what_answers_and_searches():
    source = "\n".join(
        f"import dualrec_utils.models.language.{name}" for name in ("generation", "constrained")
    )
    files = closure.closure(source, by_name=False)
    names = {Path(path).stem for path in files}
    assert {"batches", "chat", "generation", "constrained", "title_tree", "tree_decoding", "trie"} <= names
    assert "adapters" not in names


def test_a_damaged_file_is_named(pair, tmp_path):
    keeping = Keeping(tmp_path / "kept", pair[0])
    batches.run([[1]], lambda rows: [0], batch_size=1, label=LABEL, keeping=keeping)
    [path] = (tmp_path / "kept").glob("*/00000.json")
    for damaged in ("{", "{}", "[]"):
        path.write_text(damaged)
        with pytest.raises(StudyError, match=path.name):
            batches.run([[1]], lambda rows: [0], batch_size=1, label=LABEL, keeping=keeping)


# A process that has the libraries, and of it children, each killed when so many batches are on disk.
KILLED = """
import json, os, signal, sys, time
from pathlib import Path
import pandas as pd
import torch
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.models.language import batches, constrained, generation, loading

torch.set_num_threads(1)
folder, stops = Path(sys.argv[1]), json.loads(sys.argv[2])
prompts = json.loads((folder / "prompts.json").read_text())

def whole(kept):
    model, tokenizer = loading.load_model(folder / "model")
    catalog = Catalog.of(pd.read_pickle(folder / "items.pickle"))
    asked = {"batch_size": 2, "kept": kept}
    said = generation.generate(model, tokenizer, prompts, max_new_tokens=24, label="said", **asked)
    ranked = constrained.rank_titles(model, tokenizer, prompts, catalog, k=2, label="ranked", **asked)
    scored = constrained.score_titles(model, tokenizer, prompts, catalog, label="scored", **asked)
    return [said, ranked.tolist(), scored.tolist()]

def child(kept, result, *, slowly=False):
    process = os.fork()
    if not process:
        write, n_written = batches.files.write_json, []

        def noted(value, path):
            n_written.append(path.name != "settings.json")
            write(value, path)
            if slowly:
                time.sleep(0.02)

        batches.files.write_json = noted
        made = whole(kept)
        (folder / result).write_text(json.dumps([made, sum(n_written)]))
        os._exit(0)
    return process

kept = folder / "kept"
for stop, wait in stops:
    process = child(kept, "never.json", slowly=True)
    while len(list(kept.glob("*/[0-9]*.json"))) < stop:
        assert not os.waitpid(process, os.WNOHANG)[0], "the child ended by itself"
        time.sleep(0.001)
    time.sleep(wait)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
n_there = len(list(kept.glob("*/[0-9]*.json")))
(folder / "there.json").write_text(json.dumps(n_there))
for kept, result in ((kept, "resumed.json"), (None, "straight.json")):
    os.waitpid(child(kept, result), 0)
"""


def test_a_run_killed_at_five_random_moments_gives_the_same_digits(tmp_path):
    tiny_models.tiny_mistral(tmp_path / "model", chat=False)
    catalog_of(TITLES).items.to_pickle(tmp_path / "items.pickle")
    prompts = [f"a user has seen {'Heat and ' * (number % 7)}Big {number}\n" for number in range(40)]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    drawn = random.Random()
    # 20 batches each of answers, lists and scores.
    stops = sorted((drawn.randint(1, 58), drawn.random() * 0.01) for _ in range(5))
    program = [sys.executable, "-c", KILLED, str(tmp_path), json.dumps(stops)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, (stops, ended.stderr[-3000:])
    names = ("resumed", "straight", "there")
    resumed, straight, n_there = (json.loads((tmp_path / f"{name}.json").read_text()) for name in names)
    assert resumed[0] == straight[0], stops
    # What was there was not made again.
    assert resumed[1] == 60 - n_there and n_there >= stops[-1][0]
    assert not (tmp_path / "never.json").exists()
    assert len(list((tmp_path / "kept").glob("*/[0-9]*.json"))) == 60
