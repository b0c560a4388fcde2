"""Tests that run where a CUDA device is: `pytest -m gpu tests/gpu`. Elsewhere they skip and say why."""

from pathlib import Path

import pytest

from lrtheory.backend import check_device

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    try:
        check_device("cuda")
    except ValueError as error:
        missing = pytest.mark.skip(reason=str(error))
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(missing)
