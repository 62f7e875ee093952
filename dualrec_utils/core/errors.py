"""Errors that a person running the study is meant to read."""

from __future__ import annotations

import errno
import re

# What Python, and libraries that are not written in it, say of an error of the operating system.
_NUMBER = re.compile(r"\[Errno (\d+)\] ?|\(os error (\d+)\)")
_ADVICE = {
    errno.ENOENT: "make it, or run the stage that writes it (`dvc repro`)",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "the disk has no room left: free some"),
    errno.EFBIG: "a file may not grow that large here: lift the limit (`ulimit -f unlimited`)",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change whose it is and who may read and write it"),
    errno.EROFS: "what lies there can only be read: make it writable, or work on a copy elsewhere",
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a file stands where a folder belongs: move it away"),
    **dict.fromkeys((errno.EISDIR, errno.ENOTEMPTY), "a folder stands where a file belongs: move it away"),
}


class StudyError(Exception):
    """Something the user can put right. The message names the value, what is allowed and what to do.

    Stages print it alone, without a traceback, and exit with a non-zero status.
    """


def number(error: object) -> int | None:
    """The operating system's number of an error, read from its text where it has no `errno`; else None."""
    match = _NUMBER.search(str(error))
    return getattr(error, "errno", None) or (int(match[1] or match[2]) if match else None)


def explained(error: object) -> str:
    """What an error of the operating system says, and what to do, on one line.

    Args:
        error: the exception, or its text.
    """
    text = " ".join(_NUMBER.sub("", str(error)).split())
    advice = _ADVICE.get(number(error), "the file, disk or connection that it names does not work")
    return f"{text}: {advice}, then run the same command again"


def first_line(error: Exception) -> str:
    """The first line of what an error says, its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
