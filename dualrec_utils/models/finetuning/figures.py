"""The figure of adapters in training."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dualrec_utils.models import systems
from dualrec_utils.show.charts import MARKERS, PALETTE, WIDE, caption, study_style

_DASHES = ("-", "--", "-.", ":")


def adapter_losses(curves: pd.DataFrame, *, note: str) -> Figure:
    """Training and validation loss over epochs, one line an adapter.

    Args:
        curves: `adapter` and the columns of :func:`models.finetuning.training.train`. A training loss is
            the mean over the steps since the row before and is drawn at their middle.
    """
    panels = (
        ("training, own answers of each", "train_loss", 0.5),
        ("validation users", "validation_loss", 0.0),
    )
    with study_style():
        figure, both = plt.subplots(1, 2, figsize=WIDE, sharey=True)
        for axes, (title, column, shift) in zip(both, panels, strict=True):
            for row, (name, curve) in enumerate(curves.groupby("adapter", sort=False)):
                # Of unlike length, so that colour and marker together tell more lines apart than either.
                look = {"color": PALETTE[row % len(PALETTE)], "marker": MARKERS[row % len(MARKERS)]}
                dashes = _DASHES[row % len(_DASHES)]
                places = curve["epoch"] - shift * curve["epoch"].diff().fillna(0)
                drawn = curve[column].notna()
                axes.plot(
                    places[drawn],
                    curve.loc[drawn, column],
                    label=systems.label(name),
                    linestyle=dashes,
                    markersize=4,
                    **look,
                )
            axes.set(title=title, xlabel="epoch", xlim=(-0.1, curves["epoch"].max() + 0.1))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        both[0].set_ylabel("nats a token of the answer")
        both[1].legend()
        caption(figure, note)
    return figure
