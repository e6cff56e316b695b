"""The table that the suite goes through: one row a cloud."""

from dataclasses import dataclass, field
from typing import Callable

import azure_clients


@dataclass(frozen=True)
class Verb:
    """One verb: how it is asked of our executor, and what must hold before."""

    action: str
    target: dict = field(default_factory=dict)
    parameters: dict = field(default_factory=dict)
    # Verbs of the same table that our executor runs first.
    before: tuple = ()
    # `/lab/behaviour` of this verb.
    behaviour: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Cloud:
    """One cloud."""

    name: str
    # By name: makes a client for a lab. A client is called with the name of a verb, and knows all of them.
    clients: dict[str, Callable]
    verbs: dict[str, Verb]
    # Takes out of a request what each client chooses for itself.
    comparable: Callable
    # The state of the cloud, read by the operator, without what changes with every write.
    state: Callable


CLOUDS = [
    Cloud(
        name="azure",
        clients={"azure-mgmt-network": azure_clients.Library, "az network": azure_clients.CommandLine},
        verbs={
            "forwarding-on": Verb("ensure-forwarding-enabled"),
            "forwarding-off": Verb("ensure-forwarding-disabled", before=("forwarding-on",)),
            "assign": Verb("assign-secondary-ip", {"address": "10.77.60.9"}, {"name": "mob"}),
            "unassign": Verb("unassign-secondary-ip", {"address": "10.77.60.9"}, before=("assign",)),
            "assign-standby": Verb(
                "assign-secondary-ip",
                {"address": "10.77.60.9", "nicRef": azure_clients.nic_id("ce-standby-nic")},
                {"name": "mob"},
            ),
            "move": Verb(
                "assign-secondary-ip",
                {"address": "10.77.60.9"},
                {"name": "mob", "allowReassignment": True},
                before=("assign-standby",),
                behaviour={"atomicMove": True},
            ),
            "move-in-halves": Verb(
                "assign-secondary-ip",
                {"address": "10.77.60.9"},
                {"name": "mob", "allowReassignment": True},
                before=("assign-standby",),
            ),
            "route": Verb("ensure-route", {"address": "10.77.60.9"}, {"name": "mob"}),
            "unroute": Verb("remove-route", {"address": "10.77.60.9"}, before=("route",)),
        },
        comparable=azure_clients.comparable,
        state=azure_clients.state,
    ),
]
