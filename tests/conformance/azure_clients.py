"""Azure's official clients: the Python library and the command line client, neither of them changed."""

import copy
import json
import subprocess
import tempfile

import requests
from azure.core.credentials import AccessToken
from azure.identity import ManagedIdentityCredential
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network.models import (
    MoveIpConfigurationItem,
    MoveIpConfigurationResourceReference,
    MoveIpConfigurationsRequest,
    NetworkInterfaceIPConfiguration,
    Route,
)

from lab import ROOT

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP, NETWORK, NIC, STANDBY, TABLE = (
    "cloudedge-lab",
    "ce-vnet",
    "ce-router-nic",
    "ce-standby-nic",
    "ce-routes",
)
ADDRESS, NEXT_HOP = "10.77.60.9", "10.77.60.4"
AZ = ROOT / "target" / "conformance" / "azure-cli" / "bin" / "az"


def nic_id(name):
    return (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
        f"/providers/Microsoft.Network/networkInterfaces/{name}"
    )


def config_id(nic):
    return f"{nic_id(nic)}/ipConfigurations/mob"


class Library:
    """azure-mgmt-network with azure-identity's managed identity."""

    def __init__(self, lab):
        self.client = network_client(lab, ManagedIdentityCredential())

    def __call__(self, verb):
        getattr(self, verb.replace("-", "_"))()

    def forwarding(self, on):
        nic = self.client.network_interfaces.get(GROUP, NIC)
        nic.enable_ip_forwarding = on
        return self.client.network_interfaces.begin_create_or_update(GROUP, NIC, nic).result()

    def forwarding_on(self):
        self.forwarding(True)

    def forwarding_off(self):
        self.forwarding(False)

    def assign(self, name=NIC):
        nic = self.client.network_interfaces.get(GROUP, name)
        nic.ip_configurations.append(
            NetworkInterfaceIPConfiguration(
                name="mob",
                private_ip_address=ADDRESS,
                private_ip_allocation_method="Static",
                private_ip_address_version="IPv4",
                primary=False,
                subnet=nic.ip_configurations[0].subnet,
            )
        )
        self.client.network_interfaces.begin_create_or_update(GROUP, name, nic).result()

    def assign_standby(self):
        self.assign(STANDBY)

    def unassign(self, name=NIC):
        nic = self.client.network_interfaces.get(GROUP, name)
        nic.ip_configurations = [one for one in nic.ip_configurations if one.private_ip_address != ADDRESS]
        self.client.network_interfaces.begin_create_or_update(GROUP, name, nic).result()

    def move_in_halves(self):
        self.unassign(STANDBY)
        self.assign(NIC)

    def move(self):
        def reference(name):
            return MoveIpConfigurationResourceReference(id=config_id(name))

        item = MoveIpConfigurationItem(
            source_ip_configuration=reference(STANDBY), target_ip_configuration=reference(NIC)
        )
        request = MoveIpConfigurationsRequest(move_ip_configuration_items=[item])
        self.client.virtual_networks.begin_move_ip_configurations(GROUP, NETWORK, request).result()

    def route(self):
        route = Route(
            address_prefix=f"{ADDRESS}/32", next_hop_type="VirtualAppliance", next_hop_ip_address=NEXT_HOP
        )
        self.client.routes.begin_create_or_update(GROUP, TABLE, "mob", route).result()

    def unroute(self):
        self.client.routes.begin_delete(GROUP, TABLE, "mob").result()


class CommandLine:
    """`az`, logged in with the machine's managed identity: once, because every lab is at the same address."""

    directory = None

    def __init__(self, lab):
        first = CommandLine.directory is None
        if first:
            CommandLine.directory = tempfile.TemporaryDirectory(prefix="conformance-az-")
        self.environment = lab.program_environment(
            AZURE_CONFIG_DIR=CommandLine.directory.name,
            AZURE_CORE_COLLECT_TELEMETRY="0",
            AZURE_EXTENSION_USE_DYNAMIC_INSTALL="no",
        )
        if first:
            self.run("cloud", "register", "-n", "lab", "--endpoint-resource-manager", lab.facts["endpoint"])
            self.run("cloud", "set", "-n", "lab")
            self.run("login", "--identity", "--allow-no-subscriptions")

    def __call__(self, verb):
        for command in self.commands(verb):
            self.run("network", *command, "-g", GROUP)

    @staticmethod
    def commands(verb):
        def forwarding(on):
            return ("nic", "update", "-n", NIC, "--ip-forwarding", on)

        def create(nic):
            return ("nic", "ip-config", "create", "--nic-name", nic, "-n", "mob", "--private-ip-address", ADDRESS)

        def delete(nic):
            return ("nic", "ip-config", "delete", "--nic-name", nic, "-n", "mob")

        route = ("--route-table-name", TABLE, "-n", "mob")
        appliance = ("--next-hop-type", "VirtualAppliance", "--next-hop-ip-address", NEXT_HOP)
        item = (
            f"[0].source-ip-configuration.id={config_id(STANDBY)}",
            f"[0].target-ip-configuration.id={config_id(NIC)}",
        )
        return {
            "forwarding-on": [forwarding("true")],
            "forwarding-off": [forwarding("false")],
            "assign": [create(NIC)],
            "assign-standby": [create(STANDBY)],
            "unassign": [delete(NIC)],
            "move": [("vnet", "move-ip-configurations", "-n", NETWORK, "--move-items", *item)],
            "move-in-halves": [delete(STANDBY), create(NIC)],
            "route": [("route-table", "route", "create", *route, "--address-prefix", f"{ADDRESS}/32", *appliance)],
            "unroute": [("route-table", "route", "delete", *route)],
        }[verb]

    def run(self, *arguments):
        done = subprocess.run(
            [AZ, *arguments, "-o", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"az {' '.join(arguments)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None


def network_client(lab, credential):
    return NetworkManagementClient(
        credential,
        SUBSCRIPTION,
        base_url=lab.facts["endpoint"],
        credential_scopes=["https://management.azure.com/.default"],
    )


class Operator:
    """The subscription's owner, with a token of the lab."""

    def __init__(self, lab):
        self.token = lab.facts["operatorToken"]

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.token, 4_000_000_000)


def comparable(request):
    """Method, path, names of the query's parameters, body. What each client chooses for itself goes: the
    interface version, a route's name (which stands in the path), the type of an ip-configuration."""
    body = copy.deepcopy(request["body"])
    if body and "/routes/" in request["path"]:
        body.pop("name", None)
    for config in (body or {}).get("properties", {}).get("ipConfigurations", []):
        config.pop("type", None)
    return (request["method"], request["path"], sorted(request["query"]), body)


def state(lab):
    """NICs and route tables without tags."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(member) for name, member in value.items() if name != "etag"}
        if isinstance(value, list):
            return [plain(entry) for entry in value]
        return value

    def listed(kind):
        answer = requests.get(
            f"{lab.facts['endpoint']}/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
            f"/providers/Microsoft.Network/{kind}",
            params={"api-version": "2025-07-01"},
            headers={"Authorization": f"Bearer {lab.facts['operatorToken']}"},
            verify=lab.facts["authority"],
            timeout=10,
        )
        answer.raise_for_status()
        return plain(answer.json()["value"])

    return {kind: listed(kind) for kind in ("networkInterfaces", "routeTables")}
