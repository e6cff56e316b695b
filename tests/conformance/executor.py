"""Our executor, as the daemon starts it."""

import json
import subprocess

from lab import PROGRAMS


def run(lab, provider, verb, mode="execute", target=None, parameters=None, prior=None):
    """One request, one result."""
    spec = {
        "action": verb,
        "provider": provider,
        "providerRef": "lab",
        "target": target or {},
        "parameters": parameters or {},
        "mode": mode,
        "idempotencyKey": "conformance",
        "prior": prior or {},
        "context": context(lab),
    }
    return ask(lab, provider, "ExecuteActionRequest", spec)


def preflight(lab, provider, intents):
    spec = {"provider": provider, "providerRef": "lab", "intents": intents, "context": context(lab)}
    return ask(lab, provider, "PreflightRequest", spec)


def context(lab):
    return {"node": "router", "timeoutSeconds": 60, "profile": {"endpoint": lab.facts["endpoint"]}}


def ask(lab, provider, kind, spec):
    request = {"kind": kind, "apiVersion": "plugin.routerd.net/v1alpha1", "spec": spec}
    done = subprocess.run(
        [PROGRAMS / f"{provider}-provider-executor"],
        input=json.dumps(request),
        env=lab.program_environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["status"]
