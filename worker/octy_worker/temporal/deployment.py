"""Worker versions: which release of the worker Temporal gives workflow tasks to, where that is wanted.

Here: a worker's own version, the versions that Temporal knows, and making one current. Not here: the command (`cli`),
what a worker does (`daemon`).

Without a deployment's name workers are not versioned: whoever asks for work gets it, and a release that replays what
the one before has written, as ours do, is just started in its place. With one, a release gets nothing until it is made
current; then waiting cases go on with it, too. Pinning each case to the release that opened it would keep every
release of the last four weeks running, for a case may wait so long.
"""

from dataclasses import dataclass
from typing import Protocol

from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest, SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig


class DeploymentSettings(Protocol):
    """The deployment that a worker belongs to; worker settings are one."""

    @property
    def temporal_deployment(self) -> str:
        """Its name; empty: workers are not versioned."""

    @property
    def temporal_build_id(self) -> str:
        """The version of this worker."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version that has asked for work. `drainage`: whether workflows are still bound to one that was current."""

    build_id: str
    current: bool
    drainage: str


class NotReadyError(Exception):
    """Temporal does not make the version current yet; the text is its reason."""


def deployment_config(settings: DeploymentSettings) -> WorkerDeploymentConfig | None:
    """Return what the worker is started with; None when workers are not versioned.

    The behaviour is the worker's, not the workflows': one that names its own hangs on a worker without versions.
    """
    if not settings.temporal_deployment:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.temporal_deployment, settings.temporal_build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


async def known_versions(client: Client, deployment: str) -> list[Version]:
    """Return the versions that Temporal knows, newest first; none before the first worker of the deployment came."""
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
    """Give all workflow tasks to this version from now on; an empty build id: to workers without a version.

    Raises NotReadyError while Temporal has seen no worker of the version, or none on each task queue of the one before.
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
