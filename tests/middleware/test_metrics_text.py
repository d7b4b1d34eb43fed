"""The metrics text that a host app serves to Prometheus."""

from prometheus_client.parser import text_string_to_metric_families
from support.world import FakeRequest, World

from octy_middleware.metrics import exposition


def test_every_recorded_request_is_counted_by_its_outcome(tmp_path):
    world = World(tmp_path)
    keys = world.register()
    with world.authenticator(batch_delay=0.0) as authenticator:
        for _ in range(3):
            authenticator.decide(FakeRequest(keys.basic("wrong")))
            authenticator.decide(FakeRequest(keys.basic()))
        authenticator.close()  # what is accepted is written a moment later
        families = {family.name: family for family in text_string_to_metric_families(exposition(authenticator))}
    world.close()
    outcomes = {
        sample.labels["outcome"]: sample.value for sample in families["octy_app_outcomes"].samples if sample.value
    }
    assert outcomes == {"accepted": 3, "wrong_secret": 3} == world.recorded()
    assert {family.type for family in families.values()} == {"counter", "gauge"}
    [commit] = families["octy_app_recorder_commit_seconds"].samples
    assert commit.value > 0
    assert families["octy_app_recorder_lost"].samples[0].name == "octy_app_recorder_lost_total"
