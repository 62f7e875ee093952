"""Code behind the notebooks of the DUALRec study."""

import os
import sys

# Keras and matplotlib read these when they are first imported. They are the study's, whatever the user's
# settings say: a home that can hold no keras.json leaves backend, precision and the rest as they are here.
os.environ |= {"KERAS_BACKEND": "torch", "KERAS_HOME": os.devnull, "MATPLOTLIBRC": os.devnull}
for _cap in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
    os.environ.pop(_cap, None)
# Read once too, when a GPU is first used: without it torch refuses matrix products in deterministic mode.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
if sys.platform == "darwin":
    # Keras would take Apple's GPU, while all else in the study knows CUDA and the CPU.
    os.environ.setdefault("KERAS_TORCH_DEVICE", "cpu")
# Reading a notebook would build a parser of addresses for seconds, which nothing here asks for.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
