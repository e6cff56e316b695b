"""So that the suite's modules find each other, and clients take the lab's certificate."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab  # noqa: E402


@pytest.fixture
def start(monkeypatch):
    """Starts labs; libraries in this process are pointed at the last one. They end with the test."""
    labs = []

    def begin(cloud, *arguments):
        lab = Lab(cloud, *arguments).__enter__()
        labs.append(lab)
        for name, value in lab.environment.items():
            monkeypatch.setenv(name, value)
        return lab

    yield begin
    for lab in labs:
        lab.__exit__()
