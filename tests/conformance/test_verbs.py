"""Every verb of every cloud by every official client, and by our executor: the same requests, the same state."""

import pytest

import executor
from clouds import CLOUDS

ROWS = [
    pytest.param(cloud, client, verb, id=f"{cloud.name}-{client}-{verb}".replace(" ", "-"))
    for cloud in CLOUDS
    for client in cloud.clients
    for verb in cloud.verbs
]


def ours(cloud, lab, verb):
    """Runs a verb with our executor."""
    row = cloud.verbs[verb]
    status = executor.run(lab, cloud.name, row.action, target=row.target, parameters=row.parameters)
    assert status["status"] == "succeeded", status
    assert status["effect"] == "present", status
    return status


def prepared(start, cloud, verb):
    """A lab in which everything has been done that must hold before the verb."""
    lab = start(cloud.name)
    for earlier in cloud.verbs[verb].before:
        ours(cloud, lab, earlier)
    lab.behave(operationMillis=150, **cloud.verbs[verb].behaviour)
    lab.forget()
    return lab


@pytest.mark.parametrize(("cloud", "client", "verb"), ROWS)
def test_same_requests_and_same_state(start, cloud, client, verb):
    lab = prepared(start, cloud, verb)
    cloud.clients[client](lab)(verb)
    theirs = [cloud.comparable(one) for one in lab.writes()]
    their_state = cloud.state(lab)

    lab = prepared(start, cloud, verb)
    status = ours(cloud, lab, verb)
    assert status["changed"], status
    assert [cloud.comparable(one) for one in lab.writes()] == theirs
    assert cloud.state(lab) == their_state
    again = ours(cloud, lab, verb)
    assert not again["changed"], again


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.name)
def test_a_rollback_restores_what_the_official_client_had_made(start, cloud):
    """Whoever made the state: what was so before stays so."""
    for verb, row in cloud.verbs.items():
        lab = prepared(start, cloud, verb)
        before = cloud.state(lab)
        common = {"target": row.target, "parameters": row.parameters}
        seen = executor.run(lab, cloud.name, row.action, mode="observe", **common)
        prior = {"prior" + name[0].upper() + name[1:]: value for name, value in seen["observed"].items()}
        ours(cloud, lab, verb)
        assert cloud.state(lab) != before, verb
        undone = executor.run(lab, cloud.name, row.action, mode="rollback", prior=prior, **common)
        assert undone["status"] == "succeeded", undone
        assert cloud.state(lab) == before, verb
