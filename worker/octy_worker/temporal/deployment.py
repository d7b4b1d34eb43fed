"""Worker versioning (optional): this worker's version, listing versions, making one current.

Without OCTY_TEMPORAL_DEPLOYMENT workers are not versioned: a new release replays the histories of the one before, and
is started in its place. With it, a release gets no workflow tasks until it is made current; open incidents then
continue with it, too. Pinning each incident to the release that opened it would keep every release of the last four
weeks running, because an incident can be open that long.
"""

from dataclasses import dataclass

from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest, SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from octy_worker.settings import TemporalAccess


@dataclass(frozen=True, slots=True)
class Version:
    """One version that has polled for work. `drainage`: "draining" or "drained" once it is no longer current."""

    build_id: str
    current: bool
    drainage: str


class NotReadyError(Exception):
    """Temporal does not make the version current yet; the text is the reason."""


def deployment_config(settings: TemporalAccess) -> WorkerDeploymentConfig | None:
    """Return the deployment of a worker; None when workers are not versioned.

    The versioning behaviour is set here and not in the workflows: such a workflow hangs on a worker without versioning.
    """
    if not settings.temporal_deployment:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.temporal_deployment, settings.temporal_build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


async def known_versions(client: Client, deployment: str) -> list[Version]:
    """Return the versions that Temporal knows, newest first; none before the first worker has started."""
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment)
    try:
        answer = await client.workflow_service.describe_worker_deployment(request)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    info = answer.worker_deployment_info
    current = info.routing_config.current_deployment_version.build_id
    found = sorted(info.version_summaries, key=lambda each: each.create_time.ToNanoseconds(), reverse=True)
    return [
        Version(
            each.deployment_version.build_id,
            each.deployment_version.build_id == current,
            {1: "draining", 2: "drained"}.get(each.drainage_info.status, ""),
        )
        for each in found
    ]


async def make_current(client: Client, deployment: str, build_id: str, identity: str) -> None:
    """Give all workflow tasks to this version from now on; an empty build id means unversioned workers.

    Raises NotReadyError while no worker of the version polls, or not all task queues of the current version.
    """
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=deployment, build_id=build_id, identity=identity
    )
    try:
        await client.workflow_service.set_worker_deployment_current_version(request)
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
            raise NotReadyError(error.message) from None
        raise
