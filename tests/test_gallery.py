"""Thumbnails are small whatever the figure, and the same every time; the table links what is there."""

import io

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from dualrec_utils.core import config
from dualrec_utils.report import gallery, readme as readme_results
from dualrec_utils.report.runs import Run


@given(st.integers(1, 1200), st.integers(1, 1200), st.sampled_from(["RGB", "RGBA", "P", "L"]))
def test_a_thumbnail_has_its_size_whatever_the_figure(width, height, mode):
    packed = gallery.reduced(Image.new(mode, (width, height)))
    assert Image.open(io.BytesIO(packed)).size == gallery.SIZE
    assert packed == gallery.reduced(Image.new(mode, (width, height)))


def test_a_figure_of_many_colours_gets_fewer():
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, size=(12, 20, 3), dtype=np.uint8))
    packed = gallery.reduced(coarse.resize((1000, 600), Image.Resampling.BICUBIC))
    assert len(packed) <= gallery.LARGEST
    # Nothing but noise fits no palette.
    noise = Image.fromarray(rng.integers(0, 256, size=(200, 320, 3), dtype=np.uint8))
    assert len(gallery.reduced(noise)) > gallery.LARGEST


@pytest.fixture
def entry(root):
    entry = gallery.ENTRIES[0]
    figure = root / "reports" / f"{entry.figure}.png"
    figure.parent.mkdir(parents=True)
    Image.new("RGB", (900, 360), "red").save(figure)
    return entry


def test_the_table_links_the_executed_copy_where_there_is_one(root, entry, monkeypatch):
    monkeypatch.setattr(config, "NOTEBOOK_REPORTS", root / "reports" / "notebooks")
    gallery.write_thumbnails()
    source, *others = gallery.block().splitlines()[2:]
    assert (
        f'notebooks/{entry.name}.ipynb"><img src="reports/figures/report/thumbs/{entry.name}.png"' in source
    )
    assert "(reports/notebooks" not in source and all(row.endswith("| not run yet |") for row in others)
    path = gallery.executed(entry)
    path.parent.mkdir(parents=True)
    path.touch()
    assert f"(reports/notebooks/{path.name})" in gallery.block()


def test_profiles_with_executed_copies_are_named_below_it(root, monkeypatch):
    others = {name: Run({}, root / "profiles" / name / "reports", name) for name in "pq"}
    monkeypatch.setattr(gallery.runs, "others", lambda: others)
    assert "other data" not in gallery.block()
    path = root / "profiles/p/reports/notebooks/01_eda.ipynb"
    path.parent.mkdir(parents=True)
    path.touch()
    assert gallery.block().endswith("|\n\nWith other data: [p](profiles/p/reports/notebooks).")


def test_a_readme_without_a_place_for_the_table_stays_as_it_is():
    assert readme_results.with_notebooks("# A\n") == "# A\n"
    text = f"a\n{gallery.BEGIN}\nold\n{gallery.END}\nb\n"
    assert (
        readme_results.with_notebooks(text) == f"a\n{gallery.BEGIN}\n{gallery.block()}\n{gallery.END}\nb\n"
    )
