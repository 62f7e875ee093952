"""Code behind the notebooks of the DUALRec study."""

import os

# Keras reads its backend once, when it is first imported; nothing in the study needs TensorFlow.
os.environ.setdefault("KERAS_BACKEND", "torch")
