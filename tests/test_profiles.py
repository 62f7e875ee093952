"""Every profile runs the stages of the default one, with parameters, data, lock and reports of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from dualrec_utils import config, params, profiles
from dualrec_utils.errors import StudyError

ROOT = config.PACKAGE_ROOT
every = pytest.mark.parametrize("name", profiles.names())


def stages_of(path):
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))["stages"]


def dvc(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_papers_models_have_their_profile():
    assert "colab" in profiles.names()


@every
def test_its_parameters_are_valid(name):
    params.load(profiles.FOLDER / name / "params.yaml")


@every
def test_its_pipeline_is_the_default_one_with_code_two_folders_up(name):
    folder = profiles.FOLDER / name
    committed = (folder / "dvc.yaml").read_text(encoding="utf-8")
    default = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert committed == profiles.pipeline(default), "run: python -m dualrec_utils.profiles"
    own, theirs = stages_of(folder / "dvc.yaml"), stages_of(ROOT / "dvc.yaml")
    assert list(own) == list(theirs)
    for stage, defined in own.items():
        assert defined["cmd"] == f'DUALREC_ROOT="$PWD" {theirs[stage]["cmd"]}'
        assert defined["outs"] == theirs[stage]["outs"]
        for dep in defined["deps"]:
            if dep.endswith((".py", ".ipynb")):
                assert (folder / dep).is_file(), dep


@every
def test_its_report_has_a_readme_to_fill(name):
    readme = (profiles.FOLDER / name / "README.md").read_text(encoding="utf-8")
    assert readme.count("<!-- results:begin -->") == readme.count("<!-- results:end -->") == 1


def test_a_folder_without_parameters_is_no_profile(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    with pytest.raises(StudyError, match="no profile 'colab'; profiles: none"):
        profiles.write("colab")


def test_running_a_profile_leaves_the_default_one_clean(tmp_path, monkeypatch):
    """A small pipeline in place of the study's, since what counts is whose lock DVC writes."""
    (tmp_path / "dualrec_utils").mkdir()
    (tmp_path / "dualrec_utils/words.py").write_text(
        "import os, sys\nopen(os.environ.get('DUALREC_ROOT', '.') + '/said.txt', 'w').write(sys.argv[1])\n"
    )
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  say:\n"
        "    cmd: python dualrec_utils/words.py ${word}\n"
        "    deps:\n"
        "      - dualrec_utils/words.py\n"
        "    params:\n"
        "      - word\n"
        "    outs:\n"
        "      - said.txt\n"
    )
    monkeypatch.setattr(profiles, "FOLDER", tmp_path / "profiles")
    monkeypatch.setattr(config, "PACKAGE_ROOT", tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for place in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / place, tmp_path / place)
    for folder, word in ((tmp_path, "default"), (tmp_path / "profiles/other", "other")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "params.yaml").write_text(f"word: {word}\n")
    profiles.write("other")
    other = tmp_path / "profiles/other"
    (other / "dvc.yaml").write_text(
        (other / "dvc.yaml").read_text().replace("python dualrec_utils", "python ../../dualrec_utils")
    )
    dvc("repro", cwd=tmp_path)
    assert "up to date" in dvc("status", cwd=tmp_path)
    dvc("repro", cwd=other)
    assert (tmp_path / "said.txt").read_text() == "default"
    assert (other / "said.txt").read_text() == "other"
    for folder in (tmp_path, other):
        assert "up to date" in dvc("status", cwd=folder)
    # The code both share is a dependency of both.
    with open(tmp_path / "dualrec_utils/words.py", "a") as stream:
        stream.write("# changed\n")
    for folder in (tmp_path, other):
        assert "words.py" in dvc("status", cwd=folder)
