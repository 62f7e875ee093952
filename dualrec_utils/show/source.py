"""The package's own code inside a notebook, as it runs."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable

from IPython.display import Markdown


def of(*things: Callable | type) -> Markdown:
    """The source of functions, methods or classes as highlighted Python, in the order given.

    It is read from the file that is run, so that what a notebook shows cannot differ from what it calls.

    Args:
        things: written in Python, from one or several modules; a comment names the module of each run of
            things from one.

    Raises:
        TypeError, OSError: on something without Python source, as :func:`inspect.getsource`.
    """
    parts, module = [], None
    for thing in things:
        source = textwrap.dedent(inspect.getsource(thing)).rstrip()
        if thing.__module__ != module:
            module = thing.__module__
            source = f"# {module.replace('.', '/')}.py\n{source}"
        parts.append(source)
    code = "\n\n\n".join(parts)
    # A docstring may hold a fence: the one around it is longer.
    fence = "```"
    while fence in code:
        fence += "`"
    return Markdown(f"{fence}python\n{code}\n{fence}")
