"""Every profile runs the stages of the default one, with parameters, data, lock and reports of its own."""

import gzip
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_files, use_downloads, use_root

from dualrec_utils.core import config, files, order
from dualrec_utils.core.config import HISTORY, ITEM, POSITION, RATING, TIMESTAMP, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import eda, prepare
from dualrec_utils.pipeline import params, profiles, stages
from dualrec_utils.studies.search import search as settings_search

ROOT = config.PACKAGE_ROOT
every = pytest.mark.parametrize("name", profiles.names())


def values_of(name):
    return params.load(config.PROFILES / name / "params.yaml")


def dvc(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_papers_models_have_their_profile():
    models = values_of("colab").lora_finetuning.models
    assert {"mistral_7b", "deepseek_qwen_1_5b"} <= set(models) and "movielm" not in models


@every
def test_its_values_are_valid_and_it_names_nothing_twice(name):
    """What stands in a profile differs from the default run."""
    default = params.read_yaml(ROOT / "params.yaml")
    differences = params.read_yaml(config.PROFILES / name / "params.yaml")
    assert values_of(name).repository == "../../"
    for section in (*params.SECTIONS, "intervals", "domain"):
        for key, value in differences.get(section, {}).items():
            assert default[section][key] != value, f"{section}.{key} is as in the default run"


def test_ml_1m_asks_nothing_that_the_default_profile_does_not_have():
    """No Hub, no key, no GPU: its language model is trained in the pipeline."""
    values = values_of("ml-1m")
    for section in (values.zero_shot_llm, values.lora_finetuning):
        models = section.models.values()
        assert [(model.backend, model.model) for model in models] == [("local", "movielm")]


def test_its_tuned_lstm_has_the_defaults_of_the_search():
    """Of two of its settings, the defaults of the search did better on the validation users of ml-1m."""
    searched = settings_search.read_settings(settings_search.PARAMS)["models"]
    assert values_of("colab").baselines.models["lstm_tuned"] == searched["lstm_tuned"]


def test_its_pieces_take_an_hour_and_a_half_at_most(monkeypatch):
    usual = {stage.name: stages.budget(stage) for stage in stages.STAGES}
    monkeypatch.setattr(config, "ROOT", config.PROFILES / "ml-1m")
    budgets = {stage.name: stages.budget(stage) for stage in stages.STAGES}
    assert max(budgets.values()) <= 5_400
    assert all(budgets[name] >= seconds for name, seconds in usual.items())


def test_only_a_trial_says_that_it_is_none():
    assert values_of("quick").trial
    assert not any(values_of(name).trial for name in ("ml-1m", "colab"))
    assert not params.load(ROOT / "params.yaml").trial


@every
def test_its_pipeline_code_and_notebooks_are_links(name):
    for place in ("dvc.yaml", "dualrec_utils", "notebooks", "reports/studies"):
        link = config.PROFILES / name / place
        assert link.is_symlink() and link.resolve() == ROOT / place
        assert not Path(os.readlink(link)).is_absolute()


def test_a_folder_without_parameters_is_no_profile(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "PROFILES", tmp_path)
    with pytest.raises(StudyError, match="no profile 'colab'; profiles: none"):
        profiles.set_up("colab")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["repro", "report", "lab", "seeds"])
def test_make_goes_to_the_profiles_folder_and_refuses_another_name(target):
    def make(profile, *options):
        command = ["make", *options, "-o", ".venv/.installed", target, f"PROFILE={profile}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    commands = [line for line in make("colab", "-n").stdout.splitlines() if line.startswith("cd ")]
    assert commands and all(line.startswith("cd profiles/colab && ") for line in commands)
    refused = make("collab")
    assert refused.returncode == 2
    message, known = refused.stderr.splitlines()[0].split("profiles: ")
    assert "there is no profile collab" in message and sorted(known.split()) == profiles.names()


PIPELINE = """\
stages:
  say:
    cmd: python -B dualrec_utils/words.py ${word} ${count}
    deps: [dualrec_utils]
    params: [word, say, "${repository}params.yaml": [say]]
    outs: [said.txt]
"""


def test_profiles_run_one_pipeline_and_leave_each_other_clean(tmp_path, monkeypatch):
    """A small pipeline in place of the study's, since what counts is whose lock DVC writes."""
    (tmp_path / "dualrec_utils/__pycache__").mkdir(parents=True)
    code = tmp_path / "dualrec_utils/words.py"
    code.write_text("import sys\nopen('said.txt', 'w').write(' '.join(sys.argv[1:]))\n")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(config, "PACKAGE_ROOT", tmp_path)
    monkeypatch.setattr(config, "PROFILES", tmp_path / "profiles")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for place in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / place, tmp_path / place)
    folders = {"default": tmp_path} | {name: tmp_path / "profiles" / name for name in ("one", "two")}
    for word, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        repository = '""' if word == "default" else "../../"
        (folder / "params.yaml").write_text(
            f"repository: {repository}\nword: {word}\ncount: 1\nsay: {{}}\n"
        )
    for name in ("one", "two"):
        profiles.set_up(name)
    for folder in folders.values():
        dvc("repro", cwd=folder)
    for word, folder in folders.items():
        assert (folder / "said.txt").read_text() == f"{word} 1"
        # What Python leaves beside the code is no change of it.
        (tmp_path / f"dualrec_utils/__pycache__/{word}.pyc").write_text(word)
        assert "up to date" in dvc("status", cwd=folder)
    # A profile's own values concern nobody else; those of the default run and the code concern all.
    (folders["one"] / "params.yaml").write_text("repository: ../../\nword: other\ncount: 1\nsay: {}\n")
    assert "word" in dvc("status", cwd=folders["one"])
    for name in ("default", "two"):
        assert "up to date" in dvc("status", cwd=folders[name])
    (tmp_path / "params.yaml").write_text('repository: ""\nword: default\ncount: 1\nsay: {loud: 1}\n')
    for name in ("default", "two"):
        assert "params.yaml" in dvc("status", cwd=folders[name])
    code.write_text(code.read_text() + "# changed\n")
    for name in ("default", "two"):
        assert "dualrec_utils" in dvc("status", cwd=folders[name])


def test_without_git_dvc_does_without_it_and_with_git_nothing_is_left(tmp_path, monkeypatch):
    """The source as an archive."""
    monkeypatch.setattr(config, "PACKAGE_ROOT", tmp_path)
    monkeypatch.setattr(config, "ROOT", tmp_path / "profiles/one")
    for project in ("profiles/one", "dualrec_utils/studies/two"):
        for place in (".dvc/config", ".dvc/.gitignore"):
            (tmp_path / project / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / place, tmp_path / project / place)
        (tmp_path / project / "dvc.yaml").write_text(
            "stages: {s: {cmd: echo 1 > one.txt, outs: [one.txt]}}"
        )
    profiles.tell_dvc_of_git()
    for project in (config.ROOT, tmp_path / "dualrec_utils/studies/two"):
        dvc("repro", cwd=project)
        assert (project / "one.txt").read_text() == "1\n"
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    profiles.tell_dvc_of_git()
    assert not list(tmp_path.rglob("config.local"))
    assert (config.ROOT / ".dvc/config").read_text() == (ROOT / ".dvc/config").read_text()


@pytest.fixture
def another_copy(tmp_path):
    """The package in a folder of its own, with a profile that is linked to it."""
    shutil.copytree(ROOT / "dualrec_utils", tmp_path / "dualrec_utils", symlinks=True)
    (tmp_path / "profiles/one").mkdir(parents=True)
    (tmp_path / "profiles/one/params.yaml").write_text("")
    (tmp_path / "profiles/one/dualrec_utils").symlink_to("../../dualrec_utils")
    return tmp_path


def test_the_code_of_another_copy_is_refused(another_copy):
    """PYTHONPATH leads to it, in a profile of this one."""
    command = [Path(sys.executable).with_name("dualrec"), "params"]
    environment = os.environ | {"PYTHONPATH": str(another_copy)}
    done = subprocess.run(
        command, cwd=config.PROFILES / "quick", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and str(another_copy) in done.stderr and "PYTHONPATH" in done.stderr


@pytest.mark.parametrize("place", ["", "profiles", "profiles/one", "dualrec_utils/core"])
def test_this_copys_code_is_refused_in_the_folders_of_another(another_copy, monkeypatch, place):
    monkeypatch.chdir(another_copy / place)
    with pytest.raises(StudyError, match="another copy's"):
        profiles.check_place()


def test_a_profile_linked_to_another_copy_is_refused_until_it_is_set_up_anew(another_copy, monkeypatch):
    monkeypatch.setattr(config, "PROFILES", ROOT / "profiles")
    profile = another_copy / "profiles/one"
    (another_copy / "dualrec_utils").rename(another_copy / "other")
    (another_copy / "dualrec_utils").symlink_to(ROOT / "dualrec_utils")
    (profile / "dualrec_utils").unlink()
    (profile / "dualrec_utils").symlink_to("../../other")
    # What an archive may have made of a link.
    (profile / "notebooks").write_text("../../notebooks")
    monkeypatch.chdir(profile)
    with pytest.raises(StudyError, match="another copy's"):
        profiles.check_place()
    monkeypatch.setattr(config, "PROFILES", another_copy / "profiles")
    profiles.set_up("one")
    profiles.check_place()
    assert (profile / "notebooks").resolve() == ROOT / "notebooks"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("given", "read"),
    [("data at hand", f"{ROOT}/data at hand"), ("../x", f"{ROOT}/../x"), ("~/x", "~/x"), ("/a b", "/a b")],
)
@pytest.mark.parametrize("by_argument", [True, False])
def test_a_folder_of_data_is_named_from_where_make_runs(given, read, by_argument):
    """A target goes to the profile's folder first; here `dualrec` says what it would read there."""
    command = [
        "make",
        # The tests may have been started by make, whose flags would print where it is.
        "--no-print-directory",
        *("-o", ".venv/.installed", "seeds"),
        "PROFILE=quick",
        "IN_FOLDER=printenv DUALREC_DATA; false",
    ]
    environment = os.environ | ({} if by_argument else {"DUALREC_DATA": given})
    command += [f"DUALREC_DATA={given}"] if by_argument else []
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == read


@pytest.fixture
def order_folder(tmp_path, monkeypatch):
    """A folder for DUALREC_DATA with an order file in the format of ml-1m's: every user's movies in an
    order of their own, every other one without a time."""
    ratings = pd.read_csv(
        io.BytesIO(tiny_files()["u.data"]), sep="\t", names=[USER, ITEM, RATING, TIMESTAMP]
    )
    ratings = ratings.rename_axis("file_row").reset_index().sample(frac=1, random_state=3)
    ratings[POSITION] = ratings.groupby(USER).cumcount()
    ratings.loc[ratings[POSITION] % 2 == 1, TIMESTAMP] = np.nan
    ratings = ratings.astype({TIMESTAMP: "Int64"}).rename(columns={ITEM: "movie_id"})
    titles = [f"{i}::Film {i:02d} ({1960 + i})::{config.GENRES[i % 18]}" for i in range(1, 31)]
    contents = {
        "interactions.csv.gz": gzip.compress(ratings.to_csv(index=False).encode(), mtime=0),
        "movies.dat": "\n".join(titles).encode("latin-1"),
    }
    use_downloads(tmp_path / "downloads", "ml-1m", contents, monkeypatch)
    return ratings.rename(columns={"movie_id": ITEM})


def test_the_data_stage_of_ml_1m_reads_an_order_file(tmp_path, order_folder, monkeypatch):
    use_root(tmp_path / "root", monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DUALREC_DATA", "~/downloads")
    settings = params.section("data", config.PROFILES / "ml-1m/params.yaml")
    summary = prepare.prepare(**settings | {"n_items": 24})
    assert summary["source"] == "folder"
    assert summary["n_cases_next_item"] == {
        part: summary[f"n_users_{part}"] for part in config.HELDOUT_SPLITS
    }
    # Nothing but this profile's own data set is written.
    assert [path.name for path in sorted((tmp_path / "root/data").glob("*/[!.]*"))] == [
        "processed",
        "ml-1m",
    ]
    data = eda.load("ml-1m")
    # The order is the file's, whatever the times that happen to be known.
    kept = order_folder[order_folder[ITEM].isin(data["items"][ITEM])].sort_values(POSITION)
    for user, items in data["interactions"].groupby(USER)[ITEM]:
        assert items.tolist() == kept.loc[kept[USER] == user, ITEM].tolist()
    cases = files.read_parquet_of("data", config.processed_dir("ml-1m") / "cases_next_item.parquet")
    whole = data["interactions"].groupby(USER)[ITEM].agg(list)
    for user, history in zip(cases[USER], cases[HISTORY], strict=True):
        assert list(history) == whole[user][:-1]
    # What the file lacks is left unknown, and the notebook's figures of it are skipped.
    lacking = data["interactions"].isna().any()
    assert not lacking[RATING] and lacking[TIMESTAMP]
    assert data["interactions"][TIMESTAMP].notna().any()
    assert order.order_hash(data["interactions"]) == summary["order_sha256"]
