"""`octy temporal`: worker releases, promoting one, and the doctor's check of them."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.cli_rig import DENIED, CommandResult, Octy
from support.temporal import Temporal, open_temporal
from temporalio.worker import Worker

from octy_middleware import Database
from octy_middleware.domain.installation import installation_id
from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain
from octy_worker.settings import RELEASE, WorkerSettings
from octy_worker.temporal.client import main_queue
from octy_worker.temporal.deployment import deployment_config
from octy_workflows import activities
from octy_workflows.notice import KeyNoticeWorkflow

SETTINGS = WorkerSettings(
    peppers=Keychain.generate(),
    sealing_keys=Keychain.generate(),
    link_keys=Keychain.generate(),
    temporal_deployment="octy",
)


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


@pytest.fixture(scope="module")
def octy(temporal: Temporal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Octy]:
    folder = tmp_path_factory.mktemp("octy")
    octy = Octy(
        {
            "OCTY_ACTOR": "ada",
            "OCTY_DATABASE_URL": f"sqlite:///{folder / 'octy.db'}",
            "OCTY_TEMPORAL_ADDRESS": temporal.address,
            "OCTY_TEMPORAL_DEPLOYMENT": "octy",
        },
        folder,
    )
    octy("db", "upgrade").must()
    yield octy
    octy.close()


def while_a_worker_runs(temporal: Temporal, octy: Octy, *commands: tuple[str, ...]) -> list[CommandResult]:
    database = Database(octy.variables["OCTY_DATABASE_URL"])
    task_queue = main_queue(SETTINGS, installation_id(database))
    database.close()

    async def act() -> list[CommandResult]:
        worker = Worker(
            temporal.client,
            task_queue=task_queue,
            workflows=[KeyNoticeWorkflow],
            activities=[activities.send_mail],
            activity_executor=executor,
            deployment_config=deployment_config(SETTINGS),
        )
        async with worker:
            return [await asyncio.to_thread(octy.shell, *words) for words in commands]

    with ThreadPoolExecutor(1) as executor:
        return temporal.run(act())


def look(done: CommandResult, name: str = "version") -> dict[str, str]:
    [found] = [check for check in done.json["checks"] if check["name"] == name]
    return found


def test_promote_sets_the_current_version_once_its_worker_runs(temporal: Temporal, octy: Octy) -> None:
    assert octy.shell("temporal", "versions").must().stdout == "No worker of deployment octy has polled yet.\n"
    early = octy.shell("temporal", "promote", "--timeout", "0").must(4)
    assert "start its `octy worker`, then repeat" in early.stderr
    before, promoted, listed, after, page = while_a_worker_runs(
        temporal,
        octy,
        ("doctor", "--json"),
        ("temporal", "promote", "--json"),
        ("temporal", "versions", "--json"),
        ("doctor", "--json"),
        ("temporal", "versions"),
    )
    assert (look(before)["state"], look(before)["to_do"]) == ("problem", "octy temporal promote")
    assert "no build is current" in look(before)["found"]
    assert promoted.must().json == {"deployment": "octy", "build_id": RELEASE, "actor": "ada"}
    assert '"what": "version_promoted"' in promoted.stderr
    current = {"build_id": RELEASE, "current": True, "drainage": ""}
    assert listed.must().json == {"deployment": "octy", "versions": [current]}
    assert (look(after)["state"], look(after)["found"]) == ("ok", f"octy: {RELEASE} is current")
    assert (
        look(after, "worker")["to_do"] == "start a worker of this release with `octy worker`"
    )  # the main task queue is polled
    assert page.must().stdout.splitlines()[2].split() == [RELEASE, "yes", "–"]


def test_doctor_reports_a_release_that_is_not_current(octy: Octy) -> None:
    found = look(octy.shell("doctor", "--json", OCTY_TEMPORAL_BUILD_ID="9.9.9"))
    assert (found["state"], found["found"]) == (
        "problem",
        f"deployment octy: build {RELEASE} is current, this is build 9.9.9",
    )
    refused = octy.shell("temporal", "promote", "--build-id", "9.9.9", "--timeout", "0").must(4)
    assert "9.9.9 was not made current" in refused.stderr


@pytest.mark.parametrize("name", ["octy.eu", "octy:1", "x" * 201])
def test_invalid_deployment_name_is_rejected_before_the_worker_starts(name: str) -> None:
    chain = Keychain.generate()
    with pytest.raises(ConfigurationError, match="OCTY_TEMPORAL_DEPLOYMENT"):
        WorkerSettings.build(peppers=chain, sealing_keys=chain, link_keys=chain, temporal_deployment=name)


@pytest.mark.parametrize(
    ("words", "variables", "code", "said"),
    [
        (("promote",), {"OCTY_TEMPORAL_DEPLOYMENT": ""}, 2, "OCTY_TEMPORAL_DEPLOYMENT is not set"),
        (("versions",), {"OCTY_TEMPORAL_DEPLOYMENT": ""}, 2, "there is nothing to promote"),
        (("versions",), {"OCTY_TEMPORAL_ADDRESS": DENIED}, 4, "Temporal can't be reached"),
        (("promote",), {"OCTY_TEMPORAL_NAMESPACE": "elsewhere", "OCTY_ACTOR": ""}, 4, "→"),
        (("promote", "--unversioned", "--build-id", "1"), {}, 2, "--build-id and --unversioned exclude each other"),
    ],
)
def test_temporal_command_errors_are_printed_in_one_line(
    octy: Octy, words: tuple[str, ...], variables: dict[str, str], code: int, said: str
) -> None:
    done = octy.shell(
        "temporal", *words, *(("--timeout", "0") if code == 4 and words == ("promote",) else ()), **variables
    )
    assert said in done.must(code).stderr
    assert len(done.stderr.splitlines()) == 1


def test_codec_server_whose_address_is_no_name_of_a_host_is_told() -> None:
    octy = Octy({"OCTY_TEMPORAL_KEYS": Keychain.generate().export(), "OCTY_CODEC_TOKEN": "token"})
    said = octy("codec-server", "--host", "codec..example").must(4).stderr
    assert "choose another --host or --port" in said


def test_deployment_without_workers_has_no_versions(octy: Octy) -> None:
    said = octy.shell("temporal", "versions", OCTY_TEMPORAL_DEPLOYMENT="other").must().stdout
    assert said == "No worker of deployment other has polled yet.\n"


def test_reconcile_says_what_temporal_refuses(octy: Octy) -> None:
    said = octy.shell("incidents", "reconcile", OCTY_TEMPORAL_NAMESPACE="elsewhere").must(4).stderr
    assert said == "octy: Temporal: Namespace elsewhere is not found. → run `octy doctor`\n"
