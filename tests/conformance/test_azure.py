"""What is Azure's own: paging, tags, throttling, operations, permissions — as its library understands them."""

import uuid

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential
from azure.mgmt.network.models import (
    NetworkInterfaceIPConfigurationPropertiesFormat,
    NetworkInterfacePropertiesFormat,
    TagsObject,
)

import executor
from azure_clients import ADDRESS, GROUP, NETWORK, NIC, SUBSCRIPTION, TABLE, CommandLine, Library, Operator
from azure_clients import comparable, network_client, nic_id

NETWORK_CONTRIBUTOR = "4d97b98b-1d4f-4787-a291-c67834d212e7"


def test_reads(start):
    lab = start("azure")
    client = Library(lab).client
    lab.behave(pageSize=1)
    assert [nic.name for nic in client.network_interfaces.list(GROUP)] == [
        "ce-client-nic",
        "ce-router-nic",
        "ce-standby-nic",
    ]
    # Over the whole subscription, which takes a role there.
    owner = network_client(lab, Operator(lab))
    assert len(list(owner.network_interfaces.list_all())) == 3
    assert [table.name for table in client.route_tables.list(GROUP)] == [TABLE]
    assert client.subnets.get(GROUP, NETWORK, "ce-subnet").route_table.id.endswith(TABLE)
    assert client.virtual_networks.get(GROUP, NETWORK).subnets[0].address_prefix == "10.77.60.0/24"
    assert client.network_security_groups.get(GROUP, "ce-nsg").security_rules[0].access == "Allow"
    checked = client.virtual_networks.check_ip_address_availability(GROUP, NETWORK, ip_address="10.77.60.7")
    assert not checked.available and checked.available_ip_addresses
    nic = client.network_interfaces.update_tags(GROUP, NIC, TagsObject(tags={"owner": "lab"}))
    assert nic.tags == {"owner": "lab"}


def filled(model, group):
    """A value for every member that a model of the library has, by its name on the wire."""

    def value(name, kind):
        one = {"id": f"{group}/providers/Microsoft.Network/things/{name}"} if "_models." in kind else name
        if "str" in kind:
            one = name
        if "bool" in kind:
            one = True
        if "int" in kind:
            one = 32
        return [one] if "list[" in kind else one

    kinds = {name: str(kind) for name, kind in model.__annotations__.items()}
    fields = model._attr_to_rest_field  # nothing public lists them
    return {field._rest_name: value(field._rest_name, kinds[name]) for name, field in fields.items()}


def test_every_member_of_a_nic_goes_back_and_none_that_is_read_only(start):
    """The library knows which members of a NIC can be written. All of them filled in, we send what it sends."""

    def forwarding_on(change):
        lab = start("azure")
        group = lab.facts["networkInterfaces"][0].split("/providers/")[0]
        nic = Library(lab).client.network_interfaces.get(GROUP, NIC).as_dict()
        config = nic["properties"]["ipConfigurations"][0]
        config["properties"] = {
            **filled(NetworkInterfaceIPConfigurationPropertiesFormat, group),
            **config["properties"],
        }
        members = {
            **filled(NetworkInterfacePropertiesFormat, group),
            **nic["properties"],
            "ipConfigurations": [config],
        }
        others = [
            {
                "method": "GET",
                "path": NIC,
                "effect": {"type": "race", "pointer": f"/properties/{name}", "value": value},
            }
            for name, value in members.items()
        ]
        lab.knob("PUT", "faults", others)
        lab.forget()
        change(lab)
        assert not lab.knob("GET", "faults")
        return [comparable(one) for one in lab.writes()]

    theirs = forwarding_on(lambda lab: Library(lab).forwarding(True))
    target = {"nicRef": nic_id(NIC)}
    ours = forwarding_on(
        lambda lab: executor.run(lab, "azure", "ensure-forwarding-enabled", target=target)
    )
    assert len(theirs[0][3]["properties"]) >= 10, theirs
    assert ours == theirs


def test_a_stale_tag_is_refused(start):
    lab = start("azure")
    client = Library(lab).client
    nic = client.network_interfaces.get(GROUP, NIC)
    client.network_interfaces.update_tags(GROUP, NIC, TagsObject(tags={"owner": "somebody else"}))
    with pytest.raises(HttpResponseError) as refused:
        client.network_interfaces.begin_create_or_update(GROUP, NIC, nic, headers={"If-Match": nic.etag})
    assert refused.value.status_code == 412


def test_throttling_and_slow_operations_are_sat_out(start):
    lab = start("azure")
    library = Library(lab)
    lab.fault("PUT", NIC, {"type": "throttle", "retryAfterSeconds": 1})
    lab.behave(operationMillis=1500)
    assert library.forwarding(True).enable_ip_forwarding
    assert [one["status"] for one in lab.asked() if one["method"] == "PUT"] == [429, 200]


def test_a_failed_operation_is_an_error(start):
    lab = start("azure")
    library = Library(lab)
    lab.fault("PUT", NIC, {"type": "fail-operation", "code": "InternalServerError", "message": "no"})
    with pytest.raises(HttpResponseError) as failed:
        library.forwarding(True)
    assert "InternalServerError" in str(failed.value)


def test_an_expired_token_is_refused(start):
    lab = start("azure")
    library = Library(lab)
    lab.fault("GET", NIC, {"type": "expire-tokens"})
    with pytest.raises(HttpResponseError) as refused:
        library.client.network_interfaces.get(GROUP, NIC)
    assert refused.value.status_code == 401


def test_an_address_that_is_taken_is_refused(start):
    lab = start("azure")
    library = Library(lab)
    library.assign_standby()
    with pytest.raises(HttpResponseError) as refused:
        library.assign()
    assert refused.value.error.code == "PrivateIPAddressIsAllocated"


def test_the_primary_address_stays(start):
    lab = start("azure")
    client = Library(lab).client
    nic = client.network_interfaces.get(GROUP, NIC)
    nic.ip_configurations[0].name = "renamed"
    nic.ip_configurations[0].id = None
    with pytest.raises(HttpResponseError) as refused:
        client.network_interfaces.begin_create_or_update(GROUP, NIC, nic)
    assert refused.value.error.code == "IpConfigDeleteNotSupported"


def test_a_role_on_the_nic_alone_and_then_on_the_group(start):
    """The first field report: what the library is told, what our preflight says, and that widening helps."""
    lab = start("azure", "--role", "nic")
    library = Library(lab)
    with pytest.raises(HttpResponseError) as refused:
        library.assign()
    assert refused.value.error.code == "LinkedAuthorizationFailed"
    intents = [{"action": "assign-secondary-ip", "target": {"address": ADDRESS, "nicRef": nic_id(NIC)}}]
    checks = executor.preflight(lab, "azure", intents)["checks"]
    missing = [check["permission"] for check in checks if check["status"] == "fail"]
    assert missing == [
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "Microsoft.Network/networkSecurityGroups/join/action",
    ]

    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    held = requests.get(
        f"{lab.facts['endpoint']}{group}/providers/Microsoft.Authorization/roleAssignments",
        params={"api-version": "2022-04-01"},
        headers={"Authorization": f"Bearer {lab.facts['operatorToken']}"},
        verify=lab.facts["authority"],
        timeout=10,
    ).json()["value"]
    principal = next(one for one in held if one["properties"]["scope"].endswith(NIC))["properties"]["principalId"]
    granted = requests.put(
        f"{lab.facts['endpoint']}{group}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}",
        params={"api-version": "2022-04-01"},
        headers={"Authorization": f"Bearer {lab.facts['operatorToken']}"},
        json={
            "properties": {
                "roleDefinitionId": f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization"
                f"/roleDefinitions/{NETWORK_CONTRIBUTOR}",
                "principalId": principal,
            }
        },
        verify=lab.facts["authority"],
        timeout=10,
    )
    assert granted.status_code == 201, granted.text
    library.assign()
    checks = executor.preflight(lab, "azure", intents)["checks"]
    assert not [check for check in checks if check["status"] == "fail"], checks


def test_the_operator_may_do_what_the_machine_may_not(start):
    lab = start("azure", "--role", "none")
    with pytest.raises(HttpResponseError) as refused:
        network_client(lab, ManagedIdentityCredential()).network_interfaces.get(GROUP, NIC)
    assert refused.value.error.code == "AuthorizationFailed"
    assert network_client(lab, Operator(lab)).network_interfaces.get(GROUP, NIC).name == NIC


def test_the_command_line_client_reads(start):
    lab = start("azure")
    az = CommandLine(lab)
    assert [nic["name"] for nic in az.run("network", "nic", "list", "-g", GROUP)][0] == "ce-client-nic"
    table = az.run("network", "route-table", "show", "-g", GROUP, "-n", TABLE)
    assert table["routes"] == []
    assert az.run("network", "vnet", "subnet", "show", "-g", GROUP, "--vnet-name", NETWORK, "-n", "ce-subnet")
    assert az.run("network", "nic", "ip-config", "list", "-g", GROUP, "--nic-name", NIC)[0]["primary"]
    assert az.run("account", "show")["id"] == SUBSCRIPTION
