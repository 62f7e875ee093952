"""The one exception that a person running the study is meant to read."""


class StudyError(Exception):
    """Something the user can put right. The message names the value, what is allowed and what to do.

    Stages print it alone, without a traceback, and exit with a non-zero status.
    """
