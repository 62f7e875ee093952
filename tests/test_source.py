"""Code shown in a notebook is the code that runs."""

import inspect

import nbformat
import pytest

from dualrec_utils.core import metrics
from dualrec_utils.models.lstm import network
from dualrec_utils.pipeline import export
from dualrec_utils.show import source


def test_it_shows_the_function_as_it_stands_in_its_file():
    shown = source.of(metrics.hit_rate).data
    assert inspect.getsource(metrics.hit_rate).rstrip() in shown
    assert shown.splitlines()[:2] == ["```python", "# dualrec_utils/core/metrics.py"]
    assert shown.endswith("\n```")


def test_a_method_is_moved_to_the_margin_and_a_module_named_once():
    shown = source.of(network.MovieEncoder.table, network.build_model, metrics.ndcg).data
    assert "\ndef table(self)" in shown
    assert shown.count("# dualrec_utils/models/lstm/network.py") == 1
    assert shown.index("def table") < shown.index("def build_model") < shown.index("core/metrics.py")


def with_a_fence():
    """
    ```python
    "<img src=x onerror=alert(1)>"
    ```
    """


def test_a_fence_in_a_docstring_does_not_end_the_code():
    assert source.of(with_a_fence).data.startswith("````python\n")


def test_what_has_no_python_source_is_refused():
    with pytest.raises(TypeError):
        source.of(len)


def test_a_page_shows_it_highlighted_and_its_strings_as_text():
    output = nbformat.v4.new_output("display_data", data={"text/markdown": source.of(with_a_fence).data})
    cell = nbformat.v4.new_code_cell("source.of(f)", outputs=[output])
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    page = export.to_html(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), "t")
    assert '<span class="k">def</span>' in page
    assert "&lt;img src=x" in page and "<img src=x" not in page
