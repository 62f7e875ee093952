"""What a finished run of the study leaves for the service, in small: nothing in it is trained."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY, tiny_files, use_downloads, use_root

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.datasets import prepare

DATASET = "ml-100k"


def build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the run, with the service's rating model, and let every path begin there."""
    # Imported here: most tests do without torch.
    import keras
    import torch

    from dualrec_utils.content.features import item_features
    from dualrec_utils.models.lstm import network, scores
    from dualrec_utils.models.movielm import documents, model as movielm
    from dualrec_utils.pipeline import params
    from dualrec_utils.service.web import stars

    use_root(folder / "root", monkeypatch)
    use_downloads(folder / "downloads", DATASET, tiny_files(), monkeypatch)
    prepare.prepare(**TINY)
    catalog, settings = load_catalog(DATASET), params.section("lstm")
    words = {key: settings[key] for key in ("title_vocabulary", "title_length")}
    keras.utils.set_random_seed(0)
    scores.save_model(network.build_model(item_features(catalog, **words), dropout=0.3), dataset=DATASET)
    tokenizer = documents.train_tokenizer(catalog, vocabulary=400)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = movielm.new_model(tokenizer, hidden_size=32, n_layers=1, n_heads=2, dropout=0.0)
    movielm.save(small, tokenizer, pd.DataFrame({"epoch": [0]}), config.stage_dir(DATASET, "movielm"))
    chosen = {"chosen/fusion_method": "log_linear", "chosen/fusion_weight": 0.6}
    files.write_json(chosen, config.metrics_file("rerank_ablation"))
    (folder / "ratings.yaml").write_text("model: bayesian\nsettings: {n_sweeps: 12, burn_in: 2}\n")
    stars.make(DATASET, config_path=folder / "ratings.yaml")
    return folder / "root"
