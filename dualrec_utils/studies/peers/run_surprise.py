"""One algorithm of Surprise 1.1.5 on exported folds: fit on four, predict the fifth, five times.

Runs in an environment of its own (requirements-surprise.txt beside this file), so it knows nothing of the
package: in go `<fold>.train.tsv` (user, item, rating) and `<fold>.pairs.tsv` (user, item, without their
ratings), out come `<fold>.txt`, a prediction a line in the order of the pairs, and `record.json`. `make
peers` calls it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import surprise
import yaml


def run(algorithm: str, settings: dict, *, train: Path, pairs: Path) -> tuple[list[float], dict]:
    """Fit on one file and predict the pairs of another; (predictions, not clipped; processor seconds)."""
    reader = surprise.Reader(line_format="user item rating", sep="\t", rating_scale=(1, 5))
    ratings = surprise.Dataset.load_from_file(str(train), reader=reader).build_full_trainset()
    user_items = [line.split("\t") for line in pairs.read_text(encoding="utf-8").splitlines()]
    model = getattr(surprise, algorithm)(verbose=False, **settings)
    start = time.process_time()
    model.fit(ratings)
    fitted = time.process_time()
    predictions = [float(model.predict(user, item, clip=False).est) for user, item in user_items]
    return predictions, {"fit": fitted - start, "predict": time.process_time() - fitted}


def main() -> None:
    """Run one algorithm on every fold of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a name in the settings file")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--folds", type=Path, required=True, help="a folder")
    parser.add_argument("--to", type=Path, required=True, help="a folder")
    arguments = parser.parse_args()
    chosen = yaml.safe_load(arguments.settings.read_text(encoding="utf-8"))["models"][arguments.model]
    arguments.to.mkdir(parents=True, exist_ok=True)
    seconds = {}
    for train in sorted(arguments.folds.glob("*.train.tsv")):
        fold = train.name.removesuffix(".train.tsv")
        pairs = train.with_name(f"{fold}.pairs.tsv")
        predictions, seconds[fold] = run(chosen["algorithm"], chosen["settings"], train=train, pairs=pairs)
        print(f"{arguments.model}, fold {fold}: {seconds[fold]}", flush=True)
        text = "".join(f"{prediction!r}\n" for prediction in predictions)
        (arguments.to / f"{fold}.txt").write_text(text, encoding="utf-8")
    versions = {"surprise": surprise.__version__, "numpy": np.__version__}
    record = {"model": arguments.model, **chosen, "seconds": seconds, "versions": versions}
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    (arguments.to / "record.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
