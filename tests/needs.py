"""What a test needs from outside, and what happens where it is not there."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skips the test and says why; in CI, where everything is to be there, fails it instead.

    Args:
        what: what is not there, and how to get it.
    """
    if os.environ.get("CI"):
        pytest.fail(f"CI must have {what}", pytrace=False)
    pytest.skip(f"needs {what}")
