"""Code behind the notebooks of the DUALRec study."""

import os
import sys

# Keras reads its backend once, when it is first imported; nothing in the study needs TensorFlow.
os.environ.setdefault("KERAS_BACKEND", "torch")
# Read once too, when a GPU is first used: without it torch refuses matrix products in deterministic mode.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
if sys.platform == "darwin":
    # Keras would take Apple's GPU, while all else in the study knows CUDA and the CPU.
    os.environ.setdefault("KERAS_TORCH_DEVICE", "cpu")
