"""Every slip in params.yaml is named with its place, its value and what is allowed."""

import copy
import time

import pytest
from hypothesis import given, settings, strategies as st

from dualrec_utils import __main__ as command
from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params, schemas, stages
from dualrec_utils.studies.knowledge import settings as knowledge
from dualrec_utils.studies.leave_one_out import run as leave_one_out_run, tables as leave_one_out_tables
from dualrec_utils.studies.nir import experiment as nir_experiment
from dualrec_utils.studies.peers import recbole as peers
from dualrec_utils.studies.questions import settings as questions
from dualrec_utils.studies.search import search as settings_search

TEXT = (config.PACKAGE_ROOT / "params.yaml").read_text(encoding="utf-8")


def written(folder, text, *, name="params.yaml"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def refused(tmp_path, text):
    with pytest.raises(StudyError) as caught:
        params.load(written(tmp_path, text))
    return str(caught.value)


def changed(old, new):
    assert old in TEXT
    return TEXT.replace(old, new, 1)


@pytest.mark.parametrize("name", stages.NAMES)
def test_the_repository_file_is_valid_for_every_stage(name):
    section = params.section(name, config.PACKAGE_ROOT / "params.yaml")
    assert {"dataset", "seed"} <= set(section)


def test_values_keep_their_types():
    section = params.section("data", config.PACKAGE_ROOT / "params.yaml")
    assert section["dataset"] == "ml-100k"
    assert type(section["n_items"]) is int and type(section["train_share"]) is float


def test_small_numbers_without_a_point_are_numbers(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(changed("learning_rate: 4.0e-3", "learning_rate: 1e-4"), encoding="utf-8")
    assert params.load(path).lstm.learning_rate == 1e-4


def read_published(path, monkeypatch):
    # Its tables are read first; here they are of no interest.
    monkeypatch.setattr(leave_one_out_tables, "read_rows", lambda dataset: None)
    leave_one_out_tables.write_all(path)


def read_questions(path, monkeypatch):
    monkeypatch.setattr(questions, "PARAMS", path)
    questions.read_settings("lstm")


READERS = {
    "params": lambda path, _: params.load(path),
    "search": lambda path, _: settings_search.read_settings(path),
    "leave_one_out_run": lambda path, _: leave_one_out_run.read_settings(path, "ml-1m"),
    "leave_one_out_tables": read_published,
    "nir": lambda path, _: nir_experiment.read_settings(path),
    "peers": lambda path, _: peers.read_settings(path),
    "questions": read_questions,
    "knowledge": lambda path, _: knowledge.read_settings("ml-100k", path),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_settings_file_is_read_with_its_faults_named(tmp_path, monkeypatch, reader):
    path = written(tmp_path, "seed: 1\nmodels: [\n")
    with pytest.raises(StudyError) as caught:
        READERS[reader](path, monkeypatch)
    assert str(caught.value).startswith(f"{path} is not readable YAML: line 3: ")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "there is no file {path}; restore it with `git checkout {path}`"),
        (b"", "{path} must hold a mapping (lines `name: value`); it holds None"),
        (b"- a\n- b\n", "{path} must hold a mapping (lines `name: value`); it holds ['a', 'b']"),
        (b"seed: \xff\n", "{path} is not UTF-8 text: "),
    ],
    ids=["missing", "empty", "list", "not UTF-8"],
)
def test_a_file_that_holds_no_settings_is_named(tmp_path, content, what):
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError) as caught:
        params.read_yaml(path)
    assert str(caught.value).startswith(what.format(path=path))
    with pytest.raises(StudyError, match="cannot be read: Is a directory"):
        params.read_yaml(tmp_path)


def test_an_unknown_section_is_named():
    with pytest.raises(StudyError, match="did you mean lstm"):
        params.section("lsmt")


@settings(max_examples=20)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12))
def test_no_unknown_name_passes(tmp_path_factory, name):
    if name in schemas.Data.model_fields:
        return
    message = refused(tmp_path_factory.mktemp("p"), changed("\ndata:", f"\ndata:\n  {name}: 1"))
    # YAML reads a few words (null, true) as something else than a name.
    assert f"data.{name} is not a known name" in message or name in ("null", "true", "false")


@given(st.integers() | st.floats() | st.floats(0, 1), st.sampled_from(["train_share", "validation_share"]))
def test_shares_that_leave_a_part_without_users_never_pass(value, key):
    good = {
        "source": None,
        "n_items": 10,
        "min_interactions": 10,
        "train_share": 0.5,
        "validation_share": 0.2,
    }
    values = good | {"cases_per_user": 1, "held_out_users": None, key: value}
    parts = values["train_share"], values["validation_share"]
    if min(*parts, 1 - sum(parts)) > 0.01:
        assert getattr(schemas.Data(**values), key) == value
    elif not min(*parts, 1 - sum(parts)) > 0.009:
        with pytest.raises(ValueError):
            schemas.Data(**values)


SECTIONS_WITHOUT_DIFFERENCES = "".join(f"{name}: {{}}\n" for name in stages.NAMES if name != "data")
SEEDS = "seed: 3\norder_seed: 0\nmodel_seed: 0\n"
PROFILE = (
    f"repository: ../../\ntrial: false\ndataset: ml-1m\n{SEEDS}domain: {{}}\n{SECTIONS_WITHOUT_DIFFERENCES}"
)


def test_a_profile_holds_what_differs(tmp_path):
    written(tmp_path, TEXT)
    path = written(tmp_path / "profiles/p", PROFILE + "data: {n_items: 50}\n")
    whole, default = params.load(path), params.load(tmp_path / "params.yaml")
    assert (whole.dataset, whole.seed, whole.data.n_items) == ("ml-1m", 3, 50)
    assert whole.data.model_copy(update={"n_items": 1000}) == default.data
    assert whole.lstm == default.lstm
    # Another value of the default run reaches the profile, but for what the profile sets itself.
    written(tmp_path, changed("n_items: 1000", "n_items: 900").replace("epochs: 10 ", "epochs: 11 ", 1))
    assert (params.load(path).data.n_items, params.load(path).lstm.epochs) == (50, 11)


def test_a_profile_takes_models_out_by_null(tmp_path):
    written(tmp_path, TEXT)
    text = PROFILE.replace("baselines: {}", "baselines: {models: {hide: null, markov: {smoothing: 5}}}")
    models = params.load(written(tmp_path / "profiles/p", text + "data: {}\n")).baselines.models
    assert "hide" not in models and models["markov"] == {"smoothing": 5} and "ease" in models
    # Elsewhere null is a value like any other.
    assert params.overlay({"revision": "abc"}, {"revision": None}) == {"revision": None}


def test_a_profile_names_every_section(tmp_path):
    """DVC looks for each in the profile's own file."""
    written(tmp_path, TEXT)
    with pytest.raises(StudyError, match="lacks data"):
        params.load(written(tmp_path / "profiles/p", PROFILE))


def test_a_profile_names_the_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "PROFILES", tmp_path / "profiles")
    text = PROFILE.replace("repository: ../../\n", "")
    with pytest.raises(StudyError, match=r"lacks the line `repository: \.\./\.\./`, data; "):
        params.load(written(tmp_path / "profiles/p", text))


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.integers() | st.dictionaries(st.sampled_from("xy"), st.integers())
    ),
    st.dictionaries(
        st.sampled_from("abc"), st.integers() | st.dictionaries(st.sampled_from("xy"), st.integers())
    ),
)
def test_differences_win_and_nothing_else_changes(base, differences):
    before = (copy.deepcopy(base), copy.deepcopy(differences))
    merged = params.overlay(base, differences)
    assert (base, differences) == before
    assert set(merged) == set(base) | set(differences)
    assert params.overlay(merged, differences) == merged
    for key, value in differences.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        assert merged[key] == (base[key] | value if both else value)


def test_settings_tried_in_a_notebook_are_checked_as_the_file_is():
    path = config.PACKAGE_ROOT / "params.yaml"
    tried = params.section("lstm", path, overrides={"epochs": 2, "model_seed": 1})
    assert (tried["epochs"], tried["seed"]) == (2, 1)
    assert tried | {"epochs": 10, "seed": 0} == params.section("lstm", path)
    with pytest.raises(StudyError, match=r"lstm.epochs is -2"):
        params.section("lstm", path, overrides={"epochs": -2})
    with pytest.raises(StudyError, match="did you mean epochs"):
        params.section("lstm", path, overrides={"epoch": 2})


def test_every_setting_of_a_notebook_is_explained():
    """A reader of a notebook sees the comments of params.yaml beside the values."""
    for stage in stages.STAGES:
        if stage.notebook:
            unexplained = set(params.SECTIONS[stage.name].model_fields) - set(params.comments(stage.name))
            assert unexplained <= {"models", "hosted"}, stage.name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "n_items:",
            "n_itmes:",
            "data.n_itmes is not a known name; did you mean n_items? known",
        ),
        ("\ndata:", "\ndtaa:", "dtaa is not a known name; did you mean data?"),
        ("\ndata:", "\ndtaa:", "data is missing"),
        ("\ndata:", "\ndata: 5\nolddata:", "data is 5"),
        ("  n_items: 1000", "  # none", "data.n_items is missing"),
        ("n_items: 1000", "n_items: 3", "data.n_items is 3: Input should be greater than or equal to 10"),
        ("n_items: 1000", "n_items: true", "data.n_items is True: Input should be a valid integer"),
        ("n_items: 1000", "n_items: 1000.5", "data.n_items is 1000.5: Input should be a valid integer"),
        ("train_share: 0.70", "train_share: 1.0", "data.train_share is 1.0: Input should be less than 1"),
        (
            "train_share: 0.70",
            "train_share: .nan",
            "share is nan: Input should be a finite number",
        ),
        (
            "train_share: 0.70",
            "train_share: '1e-4'",
            "Input should be a valid number",
        ),
        (
            "dataset: ml-100k",
            "dataset: ml-10m",
            "there is no data set 'ml-10m'; data sets: amazon-cds",
        ),
        ("seed: 2025", "seed: -1", "seed is -1: Input should be greater than or equal to 0"),
        ("seed: 2025", "seed: 1\nseed: 2", "found duplicate key"),
        ("backend: local, ", "backend: lokal, ", "models.movielm.backend is 'lokal'"),
        ("dtype: float32, ", "dtpe: float32, ", "movielm.dtpe is not a known name; did you mean dtype?"),
        ("movielm: {", "Movie-LM: {", "lora_finetuning.models.Movie-LM"),
        ("backend: local, ", "backend: hosted, ", "only local models are fine-tuned"),
        ("n_ranked: 10", "n_ranked: 21", "a beam of width 20 cannot hold the 21 of n_ranked"),
        (
            "validation_share: 0.15",
            "validation_share: 0.3",
            "share 0.3 beside train_share 0.7 leaves no test users",
        ),
        ("validation_share: 0.15", "validation_share: 0.295", "or a part under a hundredth"),
        ("n_items: 1000", "n_items: 28", "audit: n_negatives is 19"),
        ("n_items: 1000", "n_items: 30", "lstm: window is 30"),
        ("min_interactions: 10", "min_interactions: 1000", "audit: n_negatives is 19"),
        ("n_heads: 8 ", "n_heads: 5 ", "hidden_size 128 must be a multiple of twice n_heads (10)"),
        ("vocabulary: 4000", "vocabulary: 500", "movielm.vocabulary is 500"),
        (
            "max_tokens: 512",
            "max_tokens: 287",
            "an example of 8 titles (n_recent and n_titles) may take 288",
        ),
        ("    random: {}\n", "", "baselines: models lacks random"),
        ("baselines: [most_popular, ", "baselines: [", "audit: baselines lacks most_popular"),
        ("    narm: {", "    # narm: {", "audit: baselines has narm, which baselines.models lacks"),
        ("extra_body: {", "extra_body: {model: a, ", "model, messages and stream are the study's to send"),
        ("extra_body: {", "extra_body: {max_tokens: true, ", "max_completion_tokens are whole numbers"),
        ("extra_body: {", "extra_body: {x: .nan, ", "hosted.extra_body.x"),
        ("https://openrouter", "http://openrouter", "hosted: base_url must be an https address"),
        (
            "\nrerank_ablation:\n  model: movielm",
            "\nrerank_ablation:\n  model: m",
            "rerank_ablation: model is 'm'",
        ),
        (
            "\naudit:\n  model: movielm",
            "\naudit:\n  model: m",
            "audit: model is 'm'; models of lora_finetuning: movielm",
        ),
        (
            "    movielm: {",
            "    m: {",
            "lora_finetuning: the first model, m, must be a local model of zero_shot_llm",
        ),
    ],
)
def test_values_that_cannot_be_or_go_together_are_refused_before_anything_runs(tmp_path, old, new, message):
    assert message in refused(tmp_path, changed(old, new))


@pytest.mark.parametrize("address", ["http://localhost:8000/v1", "http://[::1]/v1", "https://example.org"])
def test_addresses_that_may_be_asked(tmp_path, address):
    path = written(tmp_path, changed("https://openrouter.ai/api/v1", f"'{address}'"))
    assert params.load(path).zero_shot_llm.hosted.base_url == address


LEVELS = range(1, 40)
HOSTILE = {
    "digits": "seed: " + "7" * 5_001,
    "digits to the base of 16": "seed: 0x" + "f" * 30_000,
    "digits that still pass": "data: {train_share: " + "7" * 900 + "}",
    "a float beyond all": "data: {train_share: 1e999}",
    "a list in a list": "seed: " + "[" * 3_000 + "]" * 3_000,
    "a mapping in a mapping": "\n".join(" " * depth + "data:" for depth in range(600)),
    "names that are numbers": changed("\ndata:", "\n1: 2\ndata:\n  3: 4"),
    "names of other kinds": "null: 1\n2.5: 1\n? [a, b]\n: 1\n? {a: b}\n: 1\n2020-01-01: 1\n",
    "aliases of aliases": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in LEVELS),
    "merges of merges": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in LEVELS),
    "an alias within itself": "data: &a {data: *a}",
    "an alias of nothing": "data: *a",
    "five megabytes": "dataset: " + "x" * 5_000_000,
    "many values": "dataset: [" + "1, " * 60_000 + "]",
    "many unknown names": "".join(f"name_{n}: 1\n" for n in range(3_000)),
    "a long name": "x" * 900 + ": 1\n",
    "a password in an address": changed("https://openrouter", "ftp://user:secret@openrouter"),
    "a password that would be sent": changed("https://openrouter", "https://user:secret@openrouter"),
    "a password beside a fault": "a: https://user:secret@host/\na: https://user:secret@host/",
    "a password in no mapping": "https://user:secret@host/",
    "a password for a number": changed("n_items: 1000", "n_items: https://user:secret@host/"),
    "a password for the way up": changed('repository: ""', "repository: https://user:secret@host/"),
    "a key for its name": changed("key_variable: OPENROUTER_API_KEY", "key_variable: sk-secret"),
    "no day": "seed: 2025-13-45",
    "no number": "seed: !!int many",
    "no truth": "trial: !!bool perhaps",
    "an object": "seed: !!python/object/apply:os.getcwd []",
    "two documents": "seed: 1\n---\nseed: 2",
    "a control character": "seed: \x07",
    "half a character": 'dataset: "\\ud800"',
    "more than a character": 'dataset: "\\Uffffffff"',
    "a key in an address": changed("/api/v1", "/api/v1?key=secret"),
    "another encoding": TEXT.encode("utf-16"),
    "a tab": "data:\n\tn_items: 10",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_stands_in_the_file_the_message_is_short_and_soon(tmp_path, what):
    text = HOSTILE[what]
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    started = time.perf_counter()
    with pytest.raises(StudyError) as caught:
        params.load(path)
    message = str(caught.value)
    assert time.perf_counter() - started < 10
    assert message.startswith(str(path)) and len(message) < 4_000 and "secret" not in message


def test_a_mark_of_the_encoding_is_no_part_of_the_first_name(tmp_path):
    path = written(tmp_path, "\ufeff" + TEXT)
    assert params.load(path) == params.load(config.PACKAGE_ROOT / "params.yaml")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    unisrec: {", "    unisrec: {sbert: some/encoder, ", None),
        (
            "    ease: {query_length: 7",
            "    ease: {query_length: seven",
            ("models.ease: query_", "seven"),
        ),
        ("markov: {smoothing:", "markov: {smoothness:", ("smoothness", "smoothing")),
        (
            "confidence: 0.95      # of the intervals, 0.5 to 0.999\n  n_permutations: 20000",
            "confidence: 0.995\n  n_permutations: 1000",
            ("1000 permutations", "n_permutations to", "or more"),
        ),
    ],
)
def test_the_command_asks_those_who_know_the_rest(tmp_path, monkeypatch, capsys, old, new, words):
    """Hyperparameters of baselines, text only where one reads it; draws enough for all claims."""
    monkeypatch.setattr(config, "PARAMS_FILE", written(tmp_path, changed(old, new)))
    assert command.main(["params"]) == (2 if words else 0)
    message = capsys.readouterr().err
    assert all(word in message for word in words or ()) and message.startswith(
        "dualrec: params: " * bool(words)
    )
