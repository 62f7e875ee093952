"""Figures of notebook 07, a module a subject."""

from dualrec_utils.analysis.figures.breakdowns import (
    draw_by_genre,
    draw_by_group,
    draw_catalog,
    draw_gains,
)
from dualrec_utils.analysis.figures.sample_size import draw_power
from dualrec_utils.analysis.figures.systems import draw_figure_5a, draw_figure_5b, draw_systems

__all__ = [
    "draw_by_genre",
    "draw_by_group",
    "draw_catalog",
    "draw_figure_5a",
    "draw_figure_5b",
    "draw_gains",
    "draw_power",
    "draw_systems",
]
