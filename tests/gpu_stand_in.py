"""A device of torch that computes on the CPU and refuses what CUDA refuses; the study's models on it.

`python tests/gpu_stand_in.py` prints, as JSON, what each check raised, or null. It stands in for a GPU that
most machines lack: tensors on two devices do not mix, numpy cannot read them, operations that CUDA does not
repeat exactly are refused in deterministic mode, recurrent layers have no gradient outside training mode.
It says nothing about speed, memory or the last digits. It changes torch for its whole process.
"""

import functools
import json
import os
import sys

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from keras.src.backend.torch import core as keras_core
from torch.utils import _pytree as pytree, backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "stand_in"
DEVICE = f"{NAME}:0"
ATEN = torch.ops.aten
# Indices may lie on the CPU while what they index lies on a GPU.
INDEXING = (ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default)
# Of the list in the documentation of torch.use_deterministic_algorithms, what a model here might use.
REFUSED = {"cumsum", "cumsum_", "median", "nanmedian", "histc", "put_"}


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of a device's module when it forks and seeds random states."""

    def device_count(self):
        return 1

    def is_available(self):
        return True

    def current_device(self):
        return 0

    def get_rng_state(self, device=None):
        return torch.zeros(1)

    def set_rng_state(self, state, device=None):
        pass

    def manual_seed(self, seed):
        pass

    def manual_seed_all(self, seed):
        pass


class OnDevice(torch.Tensor):
    """A tensor that says it lies on the stand-in; `inner` holds its values."""

    @staticmethod
    def __new__(cls, inner, requires_grad=False):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(DEVICE),
            requires_grad=requires_grad,
        )

    def __init__(self, inner, requires_grad=False):
        self.inner = inner

    def tolist(self):
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


class EverywhereElse(TorchDispatchMode):
    """Sees the calls that have no tensor on the stand-in yet: factories and moves."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function, args, kwargs):
    """One operation: checked as CUDA checks it, computed on the CPU, its results put back."""
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    here = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    target = kwargs.get("device")
    if function is ATEN.copy_.default:
        _inner(args[0]).copy_(_inner(args[1]))
        return args[0]
    if here and function is not ATEN._to_copy.default:
        _check(function, tensors)
    result = function(*pytree.tree_map(_inner, args), **pytree.tree_map(_inner, kwargs) | _on_cpu(target))
    if function is ATEN._local_scalar_dense.default:
        return result
    there = here if target is None else torch.device(target).type == NAME
    if there:
        result = pytree.tree_map(
            lambda leaf: OnDevice(leaf) if isinstance(leaf, torch.Tensor) else leaf, result
        )
    return return_and_correct_aliasing(function, args, kwargs, result) if here else result


def _inner(leaf):
    return leaf.inner if isinstance(leaf, OnDevice) else leaf


def _on_cpu(target):
    return {} if target is None else {"device": torch.device("cpu")}


def _check(function, tensors):
    for tensor in tensors:
        index = function in INDEXING and tensor.dtype in (torch.int64, torch.bool)
        if not isinstance(tensor, OnDevice) and tensor.dim() and not index:
            raise RuntimeError(f"{function}: tensors on two devices, one on the CPU")
    name = function.overloadpacket.__name__
    if torch.are_deterministic_algorithms_enabled() and tensors[0].is_floating_point() and name in REFUSED:
        raise RuntimeError(f"{name} does not have a deterministic implementation")


def _moved(original):
    """A torch function whose device may be the stand-in, under its own name or as "cuda"."""

    @functools.wraps(original)
    def call(*args, device=None, **kwargs):
        made = original(*args, **kwargs)
        return made if device is None else made.to(device)

    return call


def _to(original):
    def to(tensor, *args, **kwargs):
        def renamed(leaf):
            is_cuda = isinstance(leaf, torch.device | str) and str(leaf).startswith("cuda")
            return torch.device(DEVICE) if is_cuda else leaf

        return original(
            tensor, *map(renamed, args), **{name: renamed(leaf) for name, leaf in kwargs.items()}
        )

    return to


def _as_cudnn(weights, train):
    if torch.is_grad_enabled() and not train:
        raise RuntimeError("cudnn RNN backward can only be called in training mode")
    if not all(_inner(weight).is_contiguous() for weight in weights):
        raise RuntimeError("view size is not compatible with input tensor's size and stride")


def _lstm(inputs, state, weights, *, train, **_):
    """torch.lstm of one layer, batch first, step by step: its own has kernels for known devices alone."""
    _as_cudnn(weights, train)
    kernel, recurrent, *biases = weights
    hidden, cell = state[0][0], state[1][0]
    outputs = []
    for step in inputs.unbind(1):
        gates = step @ kernel.T + hidden @ recurrent.T + sum(biases)
        enter, forget, new, leave = gates.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs, dim=1), hidden[None], cell[None]


def _gru(inputs, state, weights, has_biases, n_layers, dropout, train, bidirectional, batch_first):
    """torch.gru, likewise."""
    _as_cudnn(weights, train)
    kernel, recurrent, bias, recurrent_bias = weights
    hidden, outputs = state[0], []
    for step in inputs.unbind(1):
        reset, update, new = (step @ kernel.T + bias).chunk(3, dim=1)
        gates = (hidden @ recurrent.T + recurrent_bias).chunk(3, dim=1)
        update = (update + gates[1]).sigmoid()
        hidden = (1 - update) * (new + (reset + gates[0]).sigmoid() * gates[2]).tanh() + update * hidden
        outputs.append(hidden)
    return torch.stack(outputs, dim=1), hidden[None]


def install():
    """Register the device and let it answer where the study asks for CUDA."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.Tensor.to = _to(torch.Tensor.to)
    torch.tensor, torch.as_tensor = _moved(torch.tensor), _moved(torch.as_tensor)
    torch.lstm, torch._VF.gru = _lstm, _gru
    torch.cuda.is_available = lambda: True
    # Tensors of inference mode bypass Python's dispatch.
    torch.inference_mode = torch.no_grad
    keras_core.DEFAULT_DEVICE = DEVICE
    keras.config.disable_traceback_filtering()
    generator = torch.Generator

    class Generator(generator):
        def __new__(cls, device=None):
            return super().__new__(cls)

    torch.Generator = Generator


def trained_baseline(name):
    """Fit with validation, then score; the weights end on the device."""
    from test_baselines_trained import CATALOG, CYCLE, MOVIES, SETTINGS

    from dualrec_utils.models import baselines
    from dualrec_utils.models.baselines import unisrec

    unisrec.text_vectors = lambda catalog, sbert: np.ones((len(catalog), 12), dtype=np.float32)
    settings = SETTINGS[name] | {"max_epochs": 2, "dropout": 0.1}
    if name == "fpmc":
        del settings["dropout"]
    model = baselines.build(name, CATALOG, seed=1, catalog=MOVIES, **settings)
    model.fit(CYCLE, validate=lambda score: float(score(CYCLE[:2]).max()))
    assert np.isfinite(model.score(CYCLE[:3])).all()
    _all_here(model._network.parameters())


def lstm():
    """Stage 1: training with validation, then scores of histories."""
    from test_baselines_trained import MOVIES, N

    from dualrec_utils.content import features
    from dualrec_utils.models.lstm import sequences as lstm_data, training as lstm

    rows = np.arange(24).reshape(4, 6) % N + 1
    sequences = lstm_data.Sequences(rows=rows, targets=rows - 1)
    known = features.item_features(MOVIES, title_vocabulary=50, title_length=4)
    settings = {"seed": 1, "dropout": 0.1, "epochs": 2, "batch_size": 2, "learning_rate": 0.01}
    model, _ = lstm.train(known, sequences, validation=sequences, **settings)
    lstm.measure(model, sequences)
    assert np.isfinite(lstm.log_probabilities(model, [rows[0], rows[1][:2]], max_history=5)).all()
    _all_here(variable.value for variable in model.variables)


def movielm():
    """The small language model: training, answers, and both ways to rank titles."""
    from test_baselines_trained import CYCLE, MOVIES

    from dualrec_utils.models.language import constrained, generation
    from dualrec_utils.models.movielm import model as movielm

    histories = dict(enumerate(CYCLE))
    settings = {"vocabulary": 320, "hidden_size": 16, "n_layers": 1, "n_heads": 2, "max_tokens": 192}
    settings |= {"genre_share": 0.5, "noise_share": 0.5, "n_epochs": 1, "batch_size": 2, "dropout": 0.0}
    settings |= {"learning_rate": 0.01, "weight_decay": 0.1}
    model, tokenizer, _ = movielm.train(histories, histories, MOVIES, seed=1, **settings)
    _all_here(model.parameters())
    prompts = ["What comes after Alien?\n", "And after Clue?\n"]
    generation.generate(model, tokenizer, prompts, max_new_tokens=6, batch_size=2, label="test")
    for method in ("exact", "beam"):
        constrained.rank_titles(
            model, tokenizer, prompts, MOVIES, k=3, method=method, width=3, label="test"
        )
    constrained.score_titles(model, tokenizer, prompts, MOVIES, label="test")


def _all_here(tensors):
    assert {tensor.device.type for tensor in tensors} == {NAME}


def _of_float_sum():
    torch.use_deterministic_algorithms(True)
    torch.ones(3, device=DEVICE).cumsum(0)


def _of_transposed_lstm():
    layer = [torch.ones(3, 8).T, torch.ones(8, 2), torch.ones(8), torch.ones(8)]
    torch.lstm(torch.ones(1, 4, 3), (torch.ones(1, 1, 2),) * 2, layer, train=True)


def _of_inference_lstm():
    layer = [torch.ones(8, 3), torch.ones(8, 2), torch.ones(8), torch.ones(8)]
    torch.lstm(torch.ones(1, 4, 3), (torch.ones(1, 1, 2),) * 2, layer, train=False)


# Each must be refused: they show that the stand-in can fail.
FAULTS = {
    "two devices": lambda: torch.ones(3, device=DEVICE) + torch.ones(3),
    "numpy": lambda: torch.ones(3, device=DEVICE).numpy(),
    "float cumsum": _of_float_sum,
    "inference lstm": _of_inference_lstm,
    "transposed lstm": _of_transposed_lstm,
}


def main():
    """Run every check and print what each raised."""
    from test_baselines_trained import SETTINGS

    checks = {name: functools.partial(trained_baseline, name) for name in SETTINGS}
    checks |= {"lstm": lstm, "movielm": movielm} | FAULTS
    install()
    errors = {}
    for name, check in checks.items():
        try:
            with EverywhereElse():
                check()
            errors[name] = None
        except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError) as error:
            errors[name] = f"{type(error).__name__}: {str(error)[:300]}"
        torch.use_deterministic_algorithms(False)
    print(json.dumps(errors))


if __name__ == "__main__":
    sys.exit(main())
