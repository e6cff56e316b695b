"""A cloud of the lab, alone on loopback, and its knobs."""

import json
import os
import subprocess
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "target" / "debug"


class Lab:
    """`routerd-lab api CLOUD`, until it is stopped."""

    def __init__(self, cloud, port, *arguments):
        command = [PROGRAMS / "routerd-lab", "api", cloud, "--json", "--port", str(port), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.facts = json.loads(self.process.stdout.readline())
        self.environment = self.facts["environment"]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=10)
        self.process.stdout.close()

    def program_environment(self, **more):
        """What a client's process needs: the lab's own variables instead of any that point elsewhere."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, **self.environment, **more}

    def knob(self, method, path, body=None):
        answer = requests.request(method, self.facts["metadata"] + "/lab/" + path, json=body, timeout=10)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def behave(self, **behaviour):
        self.knob("PUT", "behaviour", behaviour)

    def fault(self, method, path, effect, times=1):
        self.knob("PUT", "faults", [{"method": method, "path": path, "times": times, "effect": effect}])

    def forget(self):
        self.knob("DELETE", "requests")

    def asked(self):
        return self.knob("GET", "requests")

    def writes(self):
        """What was asked to be changed, and was not refused."""
        return [one for one in self.asked() if one["method"] not in ("GET", "HEAD") and one["status"] < 300]
