"""Every slip in params.yaml is named with its place, its value and what is allowed."""

import copy
import re

import pytest
from hypothesis import given, strategies as st

from dualrec_utils import __main__ as command
from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params, schemas, stages
from dualrec_utils.studies.baseline_search import search as baseline_search
from dualrec_utils.studies.leave_one_out import run as leave_one_out_run, tables as leave_one_out_tables
from dualrec_utils.studies.nir import experiment as nir_experiment
from dualrec_utils.studies.peers import recbole as peers
from dualrec_utils.studies.questions import settings as questions

TEXT = (config.PACKAGE_ROOT / "params.yaml").read_text(encoding="utf-8")


def refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        params.load(path)
    return str(caught.value)


def changed(old, new):
    assert old in TEXT
    return TEXT.replace(old, new, 1)


@pytest.mark.parametrize("name", stages.NAMES)
def test_the_repository_file_is_valid_for_every_stage(name):
    section = params.section(name, config.PACKAGE_ROOT / "params.yaml")
    assert {"dataset", "seed"} <= set(section)


def test_sections_are_the_stages_in_order():
    assert tuple(params.SECTIONS) == stages.NAMES


def test_values_keep_their_types():
    section = params.section("data", config.PACKAGE_ROOT / "params.yaml")
    assert section["dataset"] == "ml-100k"
    assert type(section["n_items"]) is int and type(section["train_share"]) is float


def test_a_misspelt_key_is_named_with_the_nearest_one(tmp_path):
    message = refused(tmp_path, changed("n_items:", "n_itmes:"))
    assert "data.n_itmes is not a known name; did you mean n_items?" in message
    assert "cases_per_user" in message  # all known names are listed
    assert "params.yaml" in message


def test_a_misspelt_section_is_named(tmp_path):
    message = refused(tmp_path, changed("\ndata:", "\ndtaa:"))
    assert "dtaa is not a known name; did you mean data?" in message
    assert "data is missing" in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("n_items: 1000", "n_items: 3", ("data.n_items is 3", "greater than or equal to 10")),
        ("n_items: 1000", "n_items: true", ("data.n_items is True", "integer")),
        ("n_items: 1000", "n_items: 1000.5", ("data.n_items is 1000.5", "integer")),
        ("train_share: 0.70", "train_share: 1.0", ("data.train_share is 1.0", "less than 1")),
        ("train_share: 0.70", "train_share: .nan", ("data.train_share is nan", "number")),
        ("train_share: 0.70", "train_share: '1e-4'", ("data.train_share is '1e-4'", "number")),
        ("dataset: ml-100k", "dataset: ml-10m", ("dataset is 'ml-10m'", "ml-100k", "ml-1m")),
        ("seed: 2025", "seed: -1", ("seed is -1", "greater than or equal to 0")),
        ("\ndata:", "\ndata: 5\nolddata:", ("data is 5",)),
    ],
)
def test_a_value_out_of_range_is_named_with_the_range(tmp_path, old, new, words):
    message = refused(tmp_path, changed(old, new))
    for word in words:
        assert word in message


def test_small_numbers_without_a_point_are_numbers(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(changed("train_share: 0.70", "train_share: 1e-4"), encoding="utf-8")
    assert params.load(path).data.train_share == 1e-4


def test_a_missing_value_is_named(tmp_path):
    message = refused(tmp_path, changed("  n_items: 1000", "  # none"))
    assert "data.n_items is missing" in message


def test_a_key_given_twice_is_refused(tmp_path):
    assert "found duplicate key" in refused(tmp_path, changed("seed: 2025", "seed: 1\nseed: 2"))


@pytest.mark.parametrize("text", ["", "- a\n", "dataset: [\n", "\t"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    assert "params.yaml" in refused(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StudyError, match="there is no file"):
        params.load(tmp_path / "params.yaml")


def read_published(path, monkeypatch):
    # Its tables are read first; here they are of no interest.
    monkeypatch.setattr(leave_one_out_tables, "read_rows", lambda dataset: None)
    leave_one_out_tables.write_all(path)


def read_questions(path, monkeypatch):
    monkeypatch.setattr(questions, "PARAMS", path)
    questions.read_settings("lstm")


READERS = {
    "params": lambda path, _: params.load(path),
    "baseline_search": lambda path, _: baseline_search.read_settings(path),
    "leave_one_out_run": lambda path, _: leave_one_out_run.read_settings(path, "ml-1m"),
    "leave_one_out_tables": read_published,
    "nir": lambda path, _: nir_experiment.read_settings(path),
    "peers": lambda path, _: peers.read_settings(path),
    "questions": read_questions,
}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "there is no file {path}; restore it with `git checkout {path}`"),
        (b"", "{path} must hold a mapping (lines `name: value`); it holds None"),
        (b"- a\n- b\n", "{path} must hold a mapping (lines `name: value`); it holds ['a', 'b']"),
        (b"seed: 1\nmodels: [\n", "{path} is not readable YAML: line 3: "),
        (b"seed: \xff\n", "{path} is not UTF-8 text: "),
    ],
    ids=["missing", "empty", "list", "broken", "not UTF-8"],
)
@pytest.mark.parametrize("reader", READERS)
def test_every_settings_file_is_read_with_its_faults_named(tmp_path, monkeypatch, reader, content, what):
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError) as caught:
        READERS[reader](path, monkeypatch)
    assert str(caught.value).startswith(what.format(path=path))


def test_a_settings_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(StudyError, match="cannot be read: Is a directory"):
        params.read_yaml(tmp_path)


def test_an_unknown_section_is_named():
    with pytest.raises(StudyError, match="did you mean lstm"):
        params.section("lsmt")


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12))
def test_no_unknown_name_passes(tmp_path_factory, name):
    if name in schemas.Data.model_fields:
        return
    message = refused(tmp_path_factory.mktemp("p"), changed("\ndata:", f"\ndata:\n  {name}: 1"))
    # YAML reads a few words (null, true) as something else than a name.
    assert f"data.{name} is not a known name" in message or name in ("null", "true", "false")


@given(st.integers() | st.floats(), st.sampled_from(["train_share", "validation_share"]))
def test_shares_outside_zero_and_one_or_of_all_users_never_pass(value, key):
    good = {"n_items": 10, "min_interactions": 10, "train_share": 0.5, "validation_share": 0.2}
    values = good | {"cases_per_user": 1, key: value}
    if 0 < value < 1 and values["train_share"] + values["validation_share"] < 1:
        assert getattr(schemas.Data(**values), key) == value
    else:
        with pytest.raises(ValueError):
            schemas.Data(**values)


def written(folder, text, *, name="params.yaml"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


SECTIONS_WITHOUT_DIFFERENCES = "".join(f"{name}: {{}}\n" for name in stages.NAMES if name != "data")
PROFILE = f"repository: ../../\ndataset: ml-1m\nseed: 3\n{SECTIONS_WITHOUT_DIFFERENCES}"


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
    tried = params.section("lstm", path, overrides={"epochs": 2, "seed": 1})
    assert (tried["epochs"], tried["seed"]) == (2, 1)
    assert tried | {"epochs": 10, "seed": 2025} == params.section("lstm", path)
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
        ("backend: local, ", "backend: lokal, ", "models.movielm.backend is 'lokal'"),
        (
            "dtype: float32, ",
            "dtpe: float32, ",
            "models.movielm.dtpe is not a known name; did you mean dtype?",
        ),
        ("movielm: {", "Movie-LM: {", "lora_finetuning.models.Movie-LM"),
        ("backend: local, ", "backend: hosted, ", "only local models are fine-tuned"),
        ("n_ranked: 10", "n_ranked: 21", "beam_width: a beam of width 20 cannot hold the 21 of n_ranked"),
    ],
)
def test_a_slip_within_a_language_model_is_named_with_its_place(tmp_path, old, new, message):
    assert message in refused(tmp_path, changed(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "validation_share: 0.15",
            "validation_share: 0.3",
            "data.validation_share: 0.3 beside train_share 0.7 leaves no test users",
        ),
        ("n_heads: 4 ", "n_heads: 5 ", "hidden_size 128 must be a multiple of twice n_heads (10)"),
        ("    random: {}\n", "", "random must be there"),
        ("baselines: [most_popular, ", "baselines: [", "audit.baselines: most_popular must be there"),
        ("reordered: [markov, ", "reordered: [slim, ", "audit.reordered: slim must be in audit.baselines"),
        ("    narm: {", "    # narm: {", "audit: baselines has narm, which baselines.models lacks"),
        ("extra_body: {", "extra_body: {model: a, ", "model, messages and stream are the study's to send"),
        ("extra_body: {", "extra_body: {max_tokens: true, ", "max_completion_tokens are whole numbers"),
        ("extra_body: {", "extra_body: {x: .nan, ", "hosted.extra_body.x"),
    ],
)
def test_values_that_do_not_go_together_are_refused_before_anything_runs(tmp_path, old, new, message):
    assert message in refused(tmp_path, changed(old, new))


def test_the_encoder_of_unisrec_can_be_named_and_nothing_else_is_text(tmp_path, monkeypatch, capsys):
    """The schema lets text pass; the baseline itself, which the command asks, does not."""
    text = changed("    unisrec: {", "    unisrec: {sbert: some/encoder, ")
    monkeypatch.setattr(config, "PARAMS_FILE", written(tmp_path, text))
    assert params.load(config.PARAMS_FILE).baselines.models["unisrec"]["sbert"] == "some/encoder"
    assert command.main(["params"]) == 0
    written(tmp_path, changed("    ease: {query_length: 7", "    ease: {query_length: seven"))
    assert command.main(["params"]) == 2
    message = capsys.readouterr().err
    assert "query_length" in message and "seven" in message


@pytest.mark.parametrize("section", ["rerank_ablation", "audit"])
def test_a_model_that_is_not_fine_tuned_cannot_be_re_ranked_or_audited(tmp_path, section):
    text = re.sub(rf"(\n{section}:\n  model: )movielm", r"\1mistral", TEXT)
    expected = f"{section}: model is 'mistral'; models of lora_finetuning: movielm"
    assert expected in refused(tmp_path, text)


def test_a_hyperparameter_that_a_baseline_does_not_have_is_refused_by_the_command(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(config, "PARAMS_FILE", written(tmp_path, TEXT))
    assert command.main(["params"]) == 0
    written(tmp_path, changed("markov: {smoothing: 100}", "markov: {smoothness: 100}"))
    assert command.main(["params"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("dualrec: params: ") and "smoothness" in message and "smoothing" in message
