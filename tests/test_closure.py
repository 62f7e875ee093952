"""What a kept result depends on: the code that it runs, not the words around it."""

import pytest

from dualrec_utils.core import closure

CODE = '''"""A module."""


def half(value):
    """Half of it."""
    return value / 2  # exact
'''


@pytest.fixture
def digest(tmp_path):
    def of(text):
        (tmp_path / "half.py").write_text(text, encoding="utf-8")
        return closure.digest(["half.py"], root=tmp_path)

    return of


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A module.", "A module of one function."),
        ('    """Half of it."""\n', ""),
        ("  # exact", ""),
        ("value / 2", "(value\n        / 2)"),
    ],
)
def test_words_and_layout_do_not_count(digest, before, after):
    assert before in CODE
    assert digest(CODE.replace(before, after)) == digest(CODE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("value / 2", "value / 3"),
        ("value / 2", "value // 2"),
        ("return", "'text'\n    return"),
        ("half", "hälf"),
    ],
)
def test_every_other_change_counts(digest, before, after):
    assert digest(CODE.replace(before, after)) != digest(CODE)


def test_the_name_of_a_file_counts_and_their_order_does_not(tmp_path):
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / name).write_text(CODE, encoding="utf-8")
    both = closure.digest(["a.py", "b.py"], root=tmp_path)
    assert both == closure.digest({"b.py": 1, "a.py": 2}, root=tmp_path)
    assert both != closure.digest(["a.py", "c.py"], root=tmp_path)
