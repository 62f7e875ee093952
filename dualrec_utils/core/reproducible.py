"""Training that repeats to the digit: torch's state while it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reproducible(seed: int | None = None) -> Iterator[None]:
    """Let torch use only operations that repeat exactly; its state and random numbers come back afterwards.

    Args:
        seed: of torch's random numbers inside; None leaves them as they are.
    """
    # Most that is in this folder does without torch.
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        if seed is not None:
            torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        # Nothing here reads memory before it is written, and filling it costs a tenth of the time.
        torch.utils.deterministic.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            torch.utils.deterministic.fill_uninitialized_memory = filling
