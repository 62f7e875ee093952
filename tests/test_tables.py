"""Tables as text."""

import nbformat
import pandas as pd

from dualrec_utils.core import config
from dualrec_utils.pipeline import export
from dualrec_utils.show import tables


def test_a_value_with_its_interval():
    assert tables.with_interval(0.0864, 0.07, 0.1025) == "0.086 [0.070, 0.102]"


def long_table():
    rows = [
        ("test", "next_item", "b", "hit_rate@1", 0.25, 0.1, 0.4, 2, 4),
        ("test", "next_item", "a", "hit_rate@1", 0.5, 0.5, 0.5, 2, 4),
        ("test", "window_of_five", "a", "hit_rate@1", 1.0, 1.0, 1.0, 2, 2),
        ("validation", "next_item", "a", "hit_rate@1", 0.75, 0.7, 0.8, 2, 4),
    ]
    columns = ["split", "protocol", "system", "metric", "value", "low", "high", "n_users", "n_cases"]
    return pd.DataFrame(rows, columns=columns)


def test_one_row_a_system_in_the_order_given_of_one_protocol_and_split():
    wide = tables.by_system(long_table(), protocol="next_item", metrics=["hit_rate@1"])
    assert list(wide.index) == ["b", "a"]
    assert list(wide["hit_rate@1"]) == ["0.250 [0.100, 0.400]", "0.500 [0.500, 0.500]"]
    assert list(wide["n_cases"]) == [4, 4]


def test_protocols_are_saved_and_returned_under_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    shown = tables.save_by_protocol(long_table(), metrics=["hit_rate@1"], stage="toy")
    assert {protocol: list(rows.index) for protocol, rows in shown.items()} == {
        "next_item": ["b", "a"],
        "window_of_five": ["a"],
    }
    for protocol, rows in shown.items():
        saved = pd.read_csv(config.tables_dir("toy") / f"{protocol}.csv", index_col=0)
        assert saved["hit_rate@1"].tolist() == rows["hit_rate@1"].tolist()
    chosen = tables.save_by_protocol(long_table(), metrics=["hit_rate@1"], stage="toy", systems=["a"])
    assert [list(rows.index) for rows in chosen.values()] == [["a"], ["a"]]


def test_a_difference_in_words_says_whether_its_interval_excludes_zero():
    rows = [(0.0049, -0.004, 0.0151), (-0.25, -0.3, -0.2), (0.1, 0.0, 0.2), (0.1, 0.05, 0.2)]
    frame = pd.DataFrame(rows, columns=["difference", "low", "high"], index=[4, 3, 2, 1])
    words = tables.differences_in_words(frame)
    assert words.index.tolist() == [4, 3, 2, 1]
    assert words[4] == "+0.005 (-0.004 to +0.015, includes zero)"
    assert ["excludes" in text for text in words] == [False, True, False, True]


def test_markdown_by_hand():
    frame = pd.DataFrame({"system": ["a|b", None], "value": [0.25, float("nan")], "n": [1, 2]})
    assert tables.to_markdown(frame, digits=2).splitlines() == [
        "| system | value | n |",
        "| --- | ---: | ---: |",
        "| a\\|b | 0.25 | 1 |",
        "| – | – | 2 |",
    ]


def test_tables_of_one_kind_below_each_other_and_in_files_of_their_own(root):
    each = {"a": pd.DataFrame({"x": [1]}), "b": pd.DataFrame({"x": [2.5]})}
    assert tables.each_to_markdown(each, caption="**Kind `{}`**", digits=1).split("\n\n") == [
        "**Kind `a`**",
        "| x |\n| ---: |\n| 1 |",
        "**Kind `b`**",
        "| x |\n| ---: |\n| 2.5 |",
    ]
    tables.save_each(each, "kind", stage="results")
    saved = sorted((config.TABLES / "results").iterdir())
    assert [path.name for path in saved] == ["kind_a.csv", "kind_b.csv"]
    assert pd.read_csv(saved[1])["x"].tolist() == [2.5]


def test_a_line_break_in_a_cell_does_not_break_the_table():
    frame = pd.DataFrame({"answer": ["one\ntwo"]})
    assert tables.to_markdown(frame).splitlines()[-1] == "| one two |"


def test_what_a_model_wrote_is_shown_as_text():
    """Rendered as the notebooks' pages are: a table in Markdown, a data frame, a printed line."""
    text = (
        '<script>alert(1)</script> <img src="http://x.example/a.png" onerror="alert(2)"> [y](javascript:z)'
    )
    frame = pd.DataFrame({"answer": [text]})
    outputs = [
        nbformat.v4.new_output("display_data", {"text/markdown": tables.to_markdown(frame)}),
        nbformat.v4.new_output("display_data", {"text/html": frame._repr_html_()}),
        nbformat.v4.new_output("stream", name="stdout", text=text),
    ]
    meta = {"kernelspec": {"name": "python3", "display_name": "p"}, "language_info": {"name": "python"}}
    for output in outputs:
        cells = [nbformat.v4.new_code_cell("x", outputs=[output])]
        page = export.to_html(nbformat.v4.new_notebook(cells=cells, metadata=meta), "test")
        assert "&lt;script&gt;alert(1)" in page
        assert not [bad for bad in ("<script>alert", "<img src", 'href="javascript') if bad in page]


def test_a_table_is_saved_where_its_stage_keeps_them(root):
    frame = pd.DataFrame({"system": ["a"], "value": [0.5]})
    # A notebook shows the value of a cell's last line, and a page must be the same in every folder.
    assert tables.save_table(frame, "one", stage="results") is None
    path = config.TABLES / "results" / "one.csv"
    assert path.read_text() == "system,value\na,0.5\n"
    pd.testing.assert_frame_equal(pd.read_csv(path), frame)
