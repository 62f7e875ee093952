"""`dualrec train`, `evaluate` and `recommend`: the commands themselves, on a small world, and what they
refuse."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.__main__ import main
from dualrec_utils.core import config
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import encoder, folder
from dualrec_utils.models.ratings.base import Profile
from dualrec_utils.service import prepared, settings
from dualrec_utils.studies import variants

pytestmark = pytest.mark.usefixtures("one_thread")

N_USERS, N_ITEMS = 40, 24
KINDS = ("War", "Romance")
# What no other title is like, with comma, accent, quotation mark and brackets.
ODD = [
    '"Amélie, or ""Le Fabuleux"" (Fabuleux destin, Le) (2001)"',
    "2046 (2004)",
    "Sabrina (1954)",
    "Sabrina (1995)",
]
FAST = {
    "global_mean": {},
    "biases": {},
    "biased_mf": {"n_factors": 2},
    "svdpp": {"n_factors": 2, "n_rounds": 3},
    "item_knn": {"shrinkage": 5.0},
    "ncf": {"n_factors": 4, "max_epochs": 2},
    "bayesian": {"n_factors": 2, "n_sweeps": 12, "burn_in": 2},
    "blend": {"members": ["biases", "svdpp"], "member_settings": {"svdpp": {"n_factors": 2}}},
    "hybrid_rec": {"n_epochs": 1, "output": "cosine", "shuffled": True},
    "cross_attention": {"n_factors": 4, "max_epochs": 2, "biases": "first", "text": "trained"},
}


def write_world(folder, *, newline="\n", tagged=True):
    """Even users love films of war (even ids), odd ones those of romance; nobody is sure of himself."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    pairs = [(user, item) for user in range(1, N_USERS + 1) for item in range(1, N_ITEMS + 1)]
    rows = []
    for user, item in pairs:
        rating = 3 + (1.5 if user % 2 == item % 2 else -1.5) + draw.choice([-0.5, 0.5])
        if draw.random() < 0.7:
            rows.append(f"{user},{item},{rating},{964982703 + item}")
    titles = [
        f"Film of {KINDS[item % 2].lower()} {item} ({1950 + item})" for item in range(1, N_ITEMS - 3)
    ] + ODD
    movies = [f"{item},{title},Drama|{KINDS[item % 2]}" for item, title in enumerate(titles, start=1)]
    tags = [
        f"{user},{item},{KINDS[item % 2].lower()} story,964982703" for user, item in pairs if user % 9 == 0
    ]
    files = {"ratings.csv": ["userId,movieId,rating,timestamp", *rows]}
    files["movies.csv"] = ["movieId,title,genres", *movies]
    if tagged:
        files["tags.csv"] = ["userId,movieId,tag,timestamp", *tags]
    for name, lines in files.items():
        (folder / name).write_bytes((newline.join(lines) + newline).encode())
    return folder


def run(command, **options):
    words = [command]
    for name, value in options.items():
        words.append(f"--{name.replace('_', '-')}")
        words += [] if value is True else [str(value)] if not isinstance(value, list) else value
    return main(words)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with raw and prepared data, and a model of biases."""
    place = tmp_path_factory.mktemp("world")
    assert run("preprocess", data_dir=write_world(place / "raw"), output_dir=place / "data") == 0
    assert train(place, "bayesian") == 0
    return place


def write_config(path, name, **of_model):
    # JSON is YAML too.
    path.write_text(json.dumps({"model": name, "settings": FAST[name] | of_model}), encoding="utf-8")
    return path


def train(place, name):
    config_path = write_config(place / f"{name}.yaml", name)
    return run("train", data_dir=place / "data", output_dir=place / name, config_path=config_path)


def recommend(world, capsys, model="bayesian", **options):
    """The table that is printed, as rows of rank, rating and the rest, and the lines before it."""
    capsys.readouterr()
    assert run("recommend", model_path=world / model, data_dir=world / "data", **options) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("rank"))
    return [line.split(maxsplit=2) for line in lines[head + 1 :]], lines[:head]


def refused(capsys, *words, command, **options):
    """The one message of a command that exits with 2."""
    capsys.readouterr()
    assert run(command, **options) == 2
    streams = capsys.readouterr()
    assert len(streams.err.splitlines()) == 1
    assert "Traceback" not in streams.err
    for word in words:
        assert word in streams.err
    return streams.err


# Every model comes back from its folder as it was.


@pytest.mark.parametrize("name", models.REGISTRY)
def test_a_model_comes_back_from_its_folder_to_the_digit(world, tmp_path, name):
    data = prepared.read(world / "data")
    fitted = models.build(name, data.known, seed=3, **FAST[name]).fit(data.part(prepared.TRAIN))
    vectors = np.ones((N_ITEMS, 2), np.float32)
    about = {"settings": FAST[name], "item_vectors": vectors, "data_sha256": "x"}
    folder.write(fitted, tmp_path, name=name, **about)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(folder.FILES)
    kept = folder.read(tmp_path, data.known, data_sha256="x")
    assert kept.about.seed == 3 and np.array_equal(kept.item_vectors, vectors)
    pairs = data.ratings[["user_id", "item_id"]]
    pairs = pd.concat([pairs, pairs.iloc[:9].assign(user_id=777)])
    assert np.array_equal(kept.model.predict(pairs), fitted.predict(pairs))
    if name != "ncf":
        profiles = {777: Profile({1: 5.0, 2: 1.0}, "Enjoys films of war.")}
        said = [model.predict(pairs, profiles=profiles) for model in (kept.model, fitted)]
        assert said[0] == pytest.approx(said[1], abs=1e-5)


def test_training_twice_writes_the_same_bytes(world):
    first = (world / "bayesian" / "weights.safetensors").read_bytes()
    assert train(world, "bayesian") == 0
    assert (world / "bayesian" / "weights.safetensors").read_bytes() == first


def test_without_a_config_the_default_model_is_trained(world, tmp_path):
    assert settings.read(None).model in models.REGISTRY
    assert run("train", data_dir=world / "data", output_dir=tmp_path / "model") == 0
    assert json.loads((tmp_path / "model" / "model.json").read_text())["model"] == settings.DEFAULT


# What is measured.


@pytest.mark.parametrize("batch_size", [1, 128, 10_000])
def test_errors_are_those_of_the_test_ratings(world, tmp_path, batch_size):
    into = tmp_path / "out"
    options = {"model_path": world / "bayesian", "data_dir": world / "data", "output_dir": into}
    assert run("evaluate", **options, batch_size=batch_size) == 0
    metrics = json.loads((into / "metrics.json").read_text())
    data = prepared.read(world / "data")
    test = data.part(prepared.TEST)
    model = models.build("bayesian", data.known, seed=0, **FAST["bayesian"]).fit(data.part(prepared.TRAIN))
    errors = model.predict(test) - test["rating"].to_numpy(float)
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert metrics["mae"] == pytest.approx(np.mean(np.abs(errors)))
    assert metrics["rmse/low"] < metrics["rmse"] < metrics["rmse/high"]
    assert metrics["n_ratings"] == len(test) == data.summary.n_test
    assert metrics["rmse"] < metrics["biases_alone/rmse"]
    users = pd.read_csv(into / "users.csv")
    assert users["n_test"].sum() == len(test)
    first = users.iloc[0]
    theirs = errors[(test["user_id"] == first["user_id"]).to_numpy()]
    assert first["mean_error"] == pytest.approx(theirs.mean(), abs=1e-4)


# What is recommended.


def test_a_user_is_recommended_what_is_not_rated_and_why(world, capsys):
    rows, head = recommend(world, capsys, user_id=3, n_recommendations=5)
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"][: len(rows)]
    ratings = [float(row[1]) for row in rows]
    assert ratings == sorted(ratings, reverse=True)
    data = prepared.read(world / "data")
    seen = set(data.ratings.loc[data.ratings["user_id"] == 3, "item_id"])
    titles = data.items[~data.items["item_id"].isin(seen)]["title"]
    assert all(any(row[2].startswith(title[:12]) for title in titles) for row in rows)
    assert "Romance" in rows[0][2] or "romance" in rows[0][2]
    everything, _ = recommend(world, capsys, user_id=3, n_recommendations=99, include_watched=True)
    assert len(everything) == N_ITEMS
    assert "You gave" in everything[0][2]
    left, head = recommend(world, capsys, user_id=3, n_recommendations=99)
    assert len(left) == N_ITEMS - len(seen)
    assert any("--include-watched" in line for line in head)


def test_somebody_new_is_known_by_titles(world, capsys):
    for word, titles in (
        ("war", ["film of war 2", "Film of War 4 (1954)"]),
        ("romance", ["Film of romance 1"]),
    ):
        rows, _ = recommend(world, capsys, titles=titles, n_recommendations=3)
        assert all(word in row[2].lower() for row in rows)
        assert not any(row[2].startswith(("Film of war 2 ", "Film of romance 1 ")) for row in rows)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("2046", "2046 (2004)"),
        ("sabrina 1954", "Sabrina (1954)"),
        ("le fabuleux destin", "Amélie"),
        ('AMELIE, or "Le Fabuleux"', "Amélie"),
    ],
)
def test_titles_are_recognised_however_they_are_written(world, capsys, given, named):
    _, head = recommend(world, capsys, titles=[given])
    assert any(named in line for line in head)


def test_somebody_new_is_known_by_a_text(world, capsys):
    who = "Age: 33, gender: M, occupation: soldier. "
    for word in ("war", "romance"):
        rows, head = recommend(world, capsys, text=f"{who}Enjoys films of {word}.", n_recommendations=3)
        assert sum(word in row[2].lower() for row in rows) >= 2
    # A model that reads texts takes it as it is.
    train(world, "hybrid_rec")
    rows, head = recommend(world, capsys, "hybrid_rec", text="Enjoys films of war.", titles=["2046"])
    assert len(rows) == 10 and len(head) == 3


def test_the_encoder_is_that_of_the_library(tmp_path):
    from dualrec_utils.content.sentences import PACKAGE, embed

    said = ["Age: 33, gender: M. Enjoys sci-fi.", "", "word " * 10_000, "Amélie 漢字 ...", "a"]
    expected = embed(said, sbert=PACKAGE).loc[said].to_numpy()
    assert encoder.SentenceEncoder()(said) == pytest.approx(expected, abs=1e-5)


# What is refused.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"user_id": 999}, ["999", "1 to 40", "--text", "--titles"]),
        ({}, ["--user-id"]),
        ({"user_id": 1, "text": "War."}, ["either"]),
        ({"text": " \n"}, ["--text is empty"]),
        ({"text": "word " * 10_000}, ["10,000 words", "shorten"]),
        ({"text": "\udcff"}, ["UTF-8"]),
        ({"text": "\u200b ..."}, ["--text is empty"]),
        ({"titles": ["Sabrina"]}, ["Sabrina (1954)", "Sabrina (1995)"]),
        ({"titles": ["Film of wra 2"]}, ["most similar", "Film of war 2"]),
        ({"titles": [""]}, ["none of the 24"]),
        ({"user_id": 1, "n_recommendations": 0}, ["--n-recommendations is 0"]),
    ],
)
def test_what_cannot_be_recommended(world, capsys, options, words):
    given = {"model_path": world / "bayesian", "data_dir": world / "data"} | options
    refused(capsys, *words, command="recommend", **given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: svd", ["model", "'svd'", "bayesian"]),
        ("modle: svdpp", ["modle", "model, settings, seed"]),
        ("model: svdpp\nsettings: {n_factor: 3}", ["settings.n_factor", "n_factors"]),
        ("model: svdpp\nsettings: {n_factors: ten}", ["settings.n_factors", "'ten'", "from 1"]),
        ("model: svdpp\nsettings: {n_factors: true}", ["settings.n_factors", "True"]),
        ("model: svdpp\nsettings: {n_factors: 100000000}", ["settings.n_factors", "to 1000"]),
        ("model: {a: b}\nsettings: {1: 2}", ["model is"]),
        ("model: svdpp\nsettings: {penalty: 0}", ["settings.penalty", "above 0"]),
        ("model: svdpp\nsettings: {penalty: .nan}", ["settings.penalty", "above 0"]),
        (f"model: svdpp\nsettings: {{penalty: 1{'0' * 400}}}", ["settings.penalty", "above 0"]),
        ("model: svdpp\nsettings: [1]", ["settings is [1]"]),
        ("seed: -1", ["seed is -1", "from 0"]),
        ("model: cross_attention\nsettings: {dropout: 1}", ["settings.dropout", "below 1"]),
        ("model: cross_attention\nsettings: {n_factors: 6}", ["n_factors is 6", "multiple"]),
        ("model: cross_attention\nsettings: {text: maybe}", ["text", "trained, frozen, none"]),
        ("model: hybrid_rec\nsettings: {features: tfidf}", ["settings.features", "sentence"]),
        ("model: blend\nsettings: {members: svdpp}", ["settings.members", "list"]),
        ("model: blend\nsettings: {member_settings: {svdpp: {depth: 1}}}", ["member_settings.svdpp.depth"]),
        ("model: [", ["line"]),
        ("- 1", ["mapping"]),
        (None, ["no config file"]),
    ],
)
def test_a_broken_config_names_the_key(world, tmp_path, capsys, text, words):
    path = tmp_path / "broken.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    given = {"data_dir": world / "data", "output_dir": tmp_path / "model", "config_path": path}
    refused(capsys, *words, command="train", **given)
    assert not (tmp_path / "model").exists()


def test_training_that_diverges_writes_nothing(world, tmp_path, capsys):
    # The vectors of its texts are kept from here on: loading their encoder draws a bar beside the message.
    assert train(world, "hybrid_rec") == 0
    path = write_config(tmp_path / "hot.yaml", "hybrid_rec", learning_rate=1e30, output="dot", n_epochs=3)
    given = {"data_dir": world / "data", "output_dir": tmp_path / "model", "config_path": path}
    refused(capsys, "learning_rate", command="train", **given)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hot.yaml"]


@pytest.fixture
def copied(world, tmp_path):
    """A copy of the model that may be broken."""
    place = tmp_path / "model"
    place.mkdir()
    for path in (world / "bayesian").iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


class Planted:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize("name", ["weights.pt", "optimizer.pkl", ".hidden", "weights.safetensors"])
def test_a_pickle_in_a_model_folder_is_not_loaded(world, copied, tmp_path, capsys, name):
    mark = tmp_path / "mark"
    (copied / name).write_bytes(pickle.dumps(Planted(mark)))
    refused(capsys, name, command="recommend", model_path=copied, data_dir=world / "data", user_id=1)
    assert not mark.exists()
    given = {"model_path": copied, "data_dir": world / "data", "output_dir": tmp_path / "out"}
    refused(capsys, name, command="evaluate", **given)
    assert not (tmp_path / "out").exists()


def edited(copied, **changed):
    path = copied / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda place: (place / "model.json").unlink(), ["lacks model.json"]),
        (lambda place: (place / "model.json").write_text("{"), ["model.json", "damaged"]),
        (lambda place: (place / "model.json").write_text("{}"), ["model.json"]),
        (lambda place: (place / "weights.safetensors").write_bytes(b"0" * 99), ["weights.safetensors"]),
        (lambda place: edited(place, model="svdpp", settings={}), ["does not fit"]),
        (lambda place: edited(place, model="os.system"), ["os.system"]),
        (lambda place: edited(place, settings={"n_sweeps": "many"}), ["train"]),
        (lambda place: edited(place, seed="x"), ["seed"]),
    ],
)
def test_a_damaged_model_folder(world, copied, capsys, damage, words):
    damage(copied)
    refused(capsys, *words, command="recommend", model_path=copied, data_dir=world / "data", user_id=1)


def test_a_model_of_other_data(world, tmp_path, capsys):
    options = {"data_dir": world / "raw", "output_dir": tmp_path / "other", "min_tags_per_item": 0}
    assert run("preprocess", **options, min_user_ratings=17) == 0
    given = {"model_path": world / "bayesian", "data_dir": tmp_path / "other"}
    refused(capsys, "other data", command="recommend", **given, user_id=1)
    refused(capsys, "other data", command="evaluate", **given, output_dir=tmp_path / "out")
    given |= {"model_path": tmp_path / "nowhere"}
    refused(capsys, "no model folder", command="recommend", **given, user_id=1)


def test_data_that_are_not_prepared(world, tmp_path, capsys):
    given = {"data_dir": world / "raw", "output_dir": tmp_path / "model"}
    refused(capsys, "dualrec preprocess", command="train", **given)
    assert not (tmp_path / "model").exists()


def test_no_folder_of_something_else_is_replaced(world, tmp_path, capsys):
    before = sorted(path.name for path in (world / "data").iterdir())
    data, model = world / "data", world / "bayesian"
    refused(capsys, "another --output-dir", command="train", data_dir=data, output_dir=data)
    given = {"data_dir": data, "model_path": model}
    for into in (data, model, world):
        refused(capsys, "another --output-dir", command="evaluate", **given, output_dir=into)
    assert sorted(path.name for path in data.iterdir()) == before
    (tmp_path / "file").write_text("")
    refused(capsys, "is a file", command="train", data_dir=data, output_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "old", "new", "word"),
    [
        ("ratings.csv", ",964982705\n", ",nan\n", "'nan'"),
        ("ratings.csv", "\n1,2,", "\n1,2,7.0,964982705\n1,2,", "7"),
        ("ratings.csv", "\n1,2,", "\n1,2,nan,964982705\n1,2,", "'nan'"),
        ("ratings.csv", "\n1,2,", "\n1,2,0.7,964982705\n1,2,", "0.7"),
        ("ratings.csv", "\n1,2,", "\n1,2,4.0,964982705\n1,2,", "twice"),
        ("ratings.csv", "\n1,2,", "\n1,2,4,5,964982705\n1,2,", "saw 5"),
        ("tags.csv", "\n9,1,", "\n9,777,", "777"),
    ],
)
def test_bad_ratings_and_tags_are_refused_by_line(tmp_path, capsys, name, old, new, word):
    raw = write_world(tmp_path / "raw")
    before = (raw / name).read_text(encoding="utf-8")
    assert old in before
    (raw / name).write_text(before.replace(old, new, 1), encoding="utf-8")
    refused(capsys, str(raw), "line", word, command="preprocess", data_dir=raw, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def odd_world(tmp_path_factory):
    """Titles and tags that hold commands of a terminal; two titles that only their years tell apart."""
    place = tmp_path_factory.mktemp("odd")
    raw = write_world(place / "raw")
    for name, changes in {
        "movies.csv": {
            "Film of war 2 ": "\x1b[31mRed\x07 \u202eevil\u2028 ",
            "Film of war 4 ": f"{'W' * 90} ",
            "Film of war 6 ": f"{'W' * 90} ",
        },
        "tags.csv": {"war story": "\x1b]0;title\x07war\u202e story", "romance story": "\u200b"},
    }.items():
        text = (raw / name).read_text(encoding="utf-8")
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (raw / name).write_text(text, encoding="utf-8")
    assert run("preprocess", data_dir=raw, output_dir=place / "data") == 0
    assert train(place, "bayesian") == 0
    return place


def test_no_title_or_tag_reaches_a_terminal_as_a_command(odd_world, capsys):
    for who in ({"user_id": 2}, {"text": "Enjoys films of war."}):
        rows, head = recommend(odd_world, capsys, **who, n_recommendations=99, include_watched=True)
        lines = [*head, *(" ".join(row) for row in rows)]
        assert all(line.isprintable() for line in lines)
        assert any("war story" in line for line in lines) and any("evil" in line for line in lines)
        assert not any('the tag ""' in line for line in lines)


def test_titles_that_differ_in_their_years_are_told_apart(odd_world, capsys):
    given = {"model_path": odd_world / "bayesian", "data_dir": odd_world / "data", "titles": ["W" * 90]}
    refused(capsys, "(1954)", "(1956)", command="recommend", **given)


def test_what_a_file_is_called_reaches_no_terminal_as_a_command(world, copied, capsys):
    (copied / "\x1b[31mred\x07.pkl").write_bytes(b"")
    given = {"model_path": copied, "data_dir": world / "data", "user_id": 1}
    said = refused(capsys, "red", ".pkl", command="recommend", **given)
    assert said.removesuffix("\n").isprintable()


@pytest.mark.parametrize(("target", "status"), [("full disk", 2), ("closed pipe", 1)])
def test_output_that_cannot_be_written(world, target, status):
    if target == "closed pipe":
        reader, writer = os.pipe()
        os.close(reader)
    elif Path("/dev/full").exists():
        writer = os.open("/dev/full", os.O_WRONLY)
    else:
        pytest.skip("this system has no disk that is always full")
    options = ["--data-dir", world / "data", "--model-path", world / "bayesian", "--user-id", "1"]
    with open(writer, "wb") as output:
        process = subprocess.run(
            [sys.executable, "-m", "dualrec_utils", "recommend", *options],
            cwd=config.PACKAGE_ROOT,
            # Python keeps its output until the end, as it does for most people.
            env=os.environ | {"PYTHONUNBUFFERED": ""},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == status
    assert len(process.stderr.splitlines()) == (target == "full disk")


def test_line_ends_of_windows_and_missing_tags_change_nothing(world, tmp_path):
    raw = write_world(tmp_path / "raw", newline="\r\n")
    assert run("preprocess", data_dir=raw, output_dir=tmp_path / "windows") == 0
    one, other = (prepared.read(place).summary for place in (tmp_path / "windows", world / "data"))
    assert one == other
    raw = write_world(tmp_path / "untagged", tagged=False)
    assert run("preprocess", data_dir=raw, output_dir=tmp_path / "without") == 0
    assert prepared.read(tmp_path / "without").summary.n_tags == 0


def test_the_program_answers_without_torch_in_any_terminal(world):
    start = "import sys; from dualrec_utils.__main__ import main; status = main(sys.argv[1:])"
    start += "; assert 'torch' not in sys.modules; raise SystemExit(status)"
    options = [
        "--data-dir",
        world / "data",
        "--model-path",
        world / "bayesian",
        "--titles",
        "le fabuleux destin",
    ]
    process = subprocess.run(
        [sys.executable, "-c", start, "recommend", *options],
        cwd=config.PACKAGE_ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "Am?lie" in process.stdout


def test_a_killed_training_leaves_no_model(world, tmp_path):
    slow = write_config(tmp_path / "slow.yaml", "bayesian", n_sweeps=10**6)
    into = tmp_path / "model"
    options = ["--data-dir", world / "data", "--output-dir", into, "--config-path", slow]
    training = subprocess.Popen(
        [sys.executable, "-m", "dualrec_utils", "train", *options],
        cwd=config.PACKAGE_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with training:
        assert "training" in training.stdout.readline()
        training.kill()
    assert not into.exists()
    assert train_into(world, into) == 0


def train_into(world, into):
    config_path = write_config(into.with_suffix(".yaml"), "biases")
    return run("train", data_dir=world / "data", output_dir=into, config_path=config_path)


def test_every_published_size_is_trained_and_measured(root, tmp_path):
    """From the publisher's archive, whose folder bears its name."""
    raw = write_world(tmp_path / "raw")
    archive = tmp_path / f"{variants.DATASET}.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in raw.iterdir():
            made.write(path, f"{variants.DATASET}/{path.name}")
    place = variants.unpacked(archive)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        path.name: path.read_bytes() for path in raw.iterdir()
    }
    assert variants.unpacked(raw / "ratings.csv") == raw
    row = variants.made("large", raw)
    place = root / "data" / variants.DATASET / "variants" / "large"
    data, model, metrics = (place / name for name in ("prepared", "model", "metrics"))
    assert row["rmse"] == json.loads((metrics / "metrics.json").read_text())["rmse"]
    assert row["n_ratings"] == len(pd.read_parquet(data / "ratings.parquet")) and not row["scaled"]
    assert (model / "weights.safetensors").is_file()
