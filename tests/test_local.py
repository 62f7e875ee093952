"""The local backend with real tiny checkpoints; vLLM's side with a stand-in that answers through one."""

import json
import sys
import types

import pytest
import torch
from tiny_models import tiny_mistral, tiny_qwen2

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.backends import local, vllm_engine
from dualrec_utils.models.language import generation, loading

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
        "engine": "transformers",
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


def test_unknown_engines_are_refused(folder):
    with pytest.raises(StudyError, match=r"engine 'llama\.cpp' is unknown; allowed: transformers, vllm"):
        local.LocalBackend(str(folder), dataset="toy", engine="llama.cpp", **LIMITS)


def test_vllm_is_asked_for_where_it_is_missing(folder, monkeypatch):
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match="pip install vllm"):
        local.LocalBackend(str(folder), dataset="toy", engine="vllm", **LIMITS)
    with pytest.raises(StudyError, match="set engine to transformers for an adapter"):
        local.LocalBackend(str(folder), dataset="toy", engine="vllm", adapter="any", **LIMITS)


@pytest.fixture
def vllm(monkeypatch):
    """A module with the part of vLLM's interface that is used; what it writes comes from transformers."""

    class SamplingParams:
        def __init__(self, *, temperature, max_tokens, stop_token_ids):
            assert temperature == 0.0
            self.max_tokens, self.stops = max_tokens, stop_token_ids

    class LLM:
        def __init__(self, model, **settings):
            self.model, self.tokenizer = loading.load_model(model, dtype=settings["dtype"])

        def generate(self, prompts, params, *, use_tqdm):
            return [self._one(prompt["prompt_token_ids"], params) for prompt in prompts]

        def _one(self, ids, params):
            # Like vLLM, it keeps the token that ends an answer.
            out = self.model.generate(
                torch.tensor([ids]),
                max_new_tokens=params.max_tokens,
                eos_token_id=[self.tokenizer.eos_token_id, *params.stops],
                pad_token_id=self.tokenizer.pad_token_id,
            )
            new = out[0, len(ids) :].tolist()
            return types.SimpleNamespace(outputs=[types.SimpleNamespace(token_ids=tuple(new))])

    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: "there")
    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)


@pytest.mark.parametrize("n_thoughts", [0, 6])
def test_both_engines_give_the_same_answers(folder, vllm, n_thoughts):
    limits = LIMITS | {"max_new_tokens": 40, "max_thinking_tokens": n_thoughts, "n_lines": 1}
    one, other = (
        local.LocalBackend(str(folder), dataset="toy", engine=engine, **limits) for engine in local.ENGINES
    )
    assert other.answer(PROMPTS, label="test") == one.answer(PROMPTS, label="test")
    assert other.about == one.about | {"engine": "vllm"}


def test_the_token_that_ended_an_answer_is_not_part_of_it(folder, vllm):
    engine, tokenizer, _ = vllm_engine.load(folder, revision=None, dtype="float32", quantization="none")
    ids = [tokenizer(text)["input_ids"] for text in PROMPTS]
    settings = {"max_new_tokens": 10, "label": "test"}
    free = vllm_engine.complete(engine, tokenizer, ids, **settings)
    stop = free[0][4]
    stopped = vllm_engine.complete(engine, tokenizer, ids, stop_token=stop, **settings)
    assert stopped[0] == free[0][: free[0].index(stop)]


def test_vllm_refuses_what_is_no_model(tmp_path, vllm):
    with pytest.raises(StudyError, match="holds no language model"):
        vllm_engine.load(tmp_path, revision=None, dtype="float32", quantization="none")
