"""So that the suite's modules find each other, and clients take the lab's certificate."""

import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab  # noqa: E402


@pytest.fixture(scope="session")
def port():
    """Where every lab listens: a client that was told once finds the next one too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def start(monkeypatch, port):
    """Starts a lab and points the libraries in this process at it. It ends with the next one, or with the test."""
    labs = []

    def begin(cloud, *arguments):
        if labs:
            labs.pop().stop()
        lab = Lab(cloud, port, *arguments)
        labs.append(lab)
        for name, value in lab.environment.items():
            monkeypatch.setenv(name, value)
        return lab

    yield begin
    for lab in labs:
        lab.stop()
