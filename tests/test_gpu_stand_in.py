"""Would it run on a GPU? Every trained model on a device that refuses what CUDA refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_baselines_trained import SETTINGS

SCRIPT = Path(__file__).with_name("gpu_stand_in.py")
REFUSALS = {
    "two devices": "tensors on two devices",
    "numpy": "numpy",
    "float cumsum": "cumsum does not have a deterministic implementation",
    "inference lstm": "backward can only be called in training mode",
    "transposed lstm": "view size is not compatible",
}


@pytest.fixture(scope="module")
def errors():
    """What each check raised. A process of its own: the device stays registered in it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", [*SETTINGS, "lstm", "movielm"])
def test_a_model_trains_and_scores_there(errors, name):
    assert errors[name] is None


@pytest.mark.parametrize("name", REFUSALS)
def test_the_stand_in_refuses_what_cuda_refuses(errors, name):
    assert REFUSALS[name] in errors[name]


@pytest.mark.parametrize(("given", "expected"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_the_package_asks_cublas_for_results_that_repeat(given, expected, monkeypatch):
    """Without the setting torch refuses matrix products on a GPU in deterministic mode."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if given is not None:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", given)
    code = "import os, dualrec_utils; print(os.environ['CUBLAS_WORKSPACE_CONFIG'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(("platform", "expected"), [("darwin", "cpu"), ("linux", "None")])
def test_keras_leaves_apples_gpu_alone(platform, expected, monkeypatch):
    monkeypatch.delenv("KERAS_TORCH_DEVICE", raising=False)
    code = (
        f"import os, sys; sys.platform = {platform!r}; import dualrec_utils;"
        " print(os.environ.get('KERAS_TORCH_DEVICE'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == expected
