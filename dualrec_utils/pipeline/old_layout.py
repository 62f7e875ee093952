"""What a run before the present layout of `data/` has left: raw files are moved, the rest is named."""

from __future__ import annotations

from dualrec_utils.core import config

# Folders of `data/` before each stage had one of its own, `data/<dataset>/<stage>`.
_OLD = ("processed", "models", "generations", "predictions", "checkpoints")


def tidy() -> list[str]:
    """Move raw files that lie in a profile's own `data/raw` to the repository's, and look for old folders.

    Returns:
        Lines for the reader: what was moved, and what may be deleted; empty where nothing is left.
    """
    lines = []
    data = config.ROOT / "data"
    raw = data / "raw"
    for folder in sorted(raw.glob("*/")) if raw != config.RAW else ():
        target = config.RAW / folder.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
            lines.append(f"moved {folder} to {target}: raw files lie once, for all profiles")
    old = [str(data / name) for name in _OLD if (data / name).is_dir()]
    if old:
        lines.append(
            f"{', '.join(old)} are of an earlier layout and read by nothing; to free the space: rm -r"
            f" {' '.join(old)}"
        )
    return lines
