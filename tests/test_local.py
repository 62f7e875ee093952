"""The local backend with real tiny checkpoints."""

import json

import pytest
import torch
from tiny_models import tiny_mistral, tiny_qwen2

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.backends import local
from dualrec_utils.models.language import generation

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = ["- Toy Story (1995)\n\n", "- Film 01 (1961)\n- Film 02 (1962)\n\n", "- Fargo (1996)\n\n"]
LIMITS = {"max_new_tokens": 14, "batch_size": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_thread):
    return tiny_qwen2(tmp_path_factory.mktemp("models") / "qwen2", reasoning=True)


def test_it_answers_in_order_and_says_what_it_is(folder):
    backend = local.LocalBackend(str(folder), dataset="toy", max_thinking_tokens=5, **LIMITS)
    answers = backend.answer(PROMPTS, label="test")
    assert answers == generation.generate(
        backend.model, backend.tokenizer, PROMPTS, label="test", max_thinking_tokens=5, **LIMITS
    )
    assert backend.answer(PROMPTS[::-1], label="test") == answers[::-1]
    about = json.loads(json.dumps(backend.about))
    device = about.pop("device")
    assert device == ("cpu" if not torch.cuda.is_available() else torch.cuda.get_device_name(0))
    assert about == {
        "model": str(folder),
        "revision": None,
        "dtype": "float32",
        "quantization": "none",
        "adapter": None,
        "date": "2025-01-01",
        "batch_size": 2,
        "max_new_tokens": 14,
        "n_lines": 3,
        "max_thinking_tokens": 5,
    }


def test_movielm_is_the_one_of_the_data_set_and_its_path_stays_here(root):
    tiny_mistral(config.stage_dir("toy", "movielm"), chat=False)
    backend = local.LocalBackend("movielm", dataset="toy", **LIMITS)
    assert len(backend.answer(PROMPTS, label="test")) == 3
    assert backend.about["model"] == "movielm"
    assert str(root) not in json.dumps(backend.about)
    with pytest.raises(StudyError, match="dvc repro movielm"):
        local.LocalBackend("movielm", dataset="other", **LIMITS)
