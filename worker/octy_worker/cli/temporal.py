"""`octy temporal` and `octy codec-server`: options and help texts."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from octy_worker.cli.context import staff_actor, temporal_place
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson
from octy_worker.cli.output import print_json, print_lines, print_page, print_result, table
from octy_worker.cli.variables import variables_of
from octy_worker.errors import UnavailableError, UsageError
from octy_worker.settings import TemporalAccess
from octy_worker.staff.audit import record
from octy_worker.temporal.access import fetch_versions, promote_version
from octy_worker.temporal.codec_server import CodecSettings, serve
from octy_worker.temporal.deployment import Version

VERSIONS_JSON = "deployment, versions[build_id, current, drainage: '' | draining | drained]"
PROMOTE_JSON = "deployment, build_id, actor"


@help_page(
    "octy temporal versions",
    more="A draining build still has workflows; Octy's leave it after their current task.",
    json=VERSIONS_JSON,
)
def list_versions(context: typer.Context, as_json: AsJson = False) -> None:
    """Show one line for each build."""
    place = _versioned(context)
    found = asyncio.run(fetch_versions(place))
    if as_json:
        print_json({"deployment": place.temporal_deployment, "versions": found})
    elif found:
        print_page(_versions_table(found))
    else:  # pragma: no cover - coverage loses track after an RPCError in a coroutine
        print_lines(f"No worker of deployment {place.temporal_deployment} has polled yet.")


@help_page(
    "octy --env-file octy.env temporal promote",
    "octy temporal promote --build-id 1.4.0 --timeout 60",
    "octy temporal promote --unversioned",
    more="The last step of a deployment: a build gets no workflow tasks until it is current. The command waits "
    "until a worker of the build polls. To roll back, promote the older build while its workers run. To leave "
    "versioning, start workers without OCTY_TEMPORAL_DEPLOYMENT, then promote --unversioned.",
    json=PROMOTE_JSON,
)
def promote(
    context: typer.Context,
    *,
    build_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Which build. Default: OCTY_TEMPORAL_BUILD_ID, else the release installed here."
        ),
    ] = None,
    unversioned: Annotated[bool, typer.Option("--unversioned", help="Promote workers without a version.")] = False,
    timeout: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for a worker of the build.")] = 30.0,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make it current."""
    if unversioned and build_id:
        raise UsageError("--build-id and --unversioned exclude each other", "give one of them")
    place, who = _versioned(context), staff_actor(context, actor)
    chosen = "" if unversioned else build_id or place.temporal_build_id
    asyncio.run(promote_version(place, chosen, identity=f"octy temporal promote by {who}", retry_for=timeout))
    name = chosen or "workers without a version"
    record("version_promoted", who, deployment=place.temporal_deployment, build_id=chosen)
    value = {"deployment": place.temporal_deployment, "build_id": chosen, "actor": who}
    lines = [f"All workflows of deployment {place.temporal_deployment} now go to {name}."]
    print_result(value, lines, as_json=as_json)


def _versioned(context: typer.Context) -> TemporalAccess:
    place = temporal_place(context)
    if not place.temporal_deployment:
        raise UsageError(
            "worker versioning is off: OCTY_TEMPORAL_DEPLOYMENT is not set",
            "there is nothing to promote; to deploy a release, restart the workers with it",
        )
    return place


@help_page(
    "octy --env-file octy.env codec-server",
    "octy codec-server --port 8081",
    more="It needs OCTY_TEMPORAL_KEYS, and serves the Web UI of OCTY_CODEC_UI_ORIGIN (http://127.0.0.1:8233) and "
    "programs on this machine. To listen on another address, set OCTY_CODEC_TOKEN and run it behind a proxy that "
    "terminates TLS.",
)
def codec_server(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: OCTY_CODEC_HOST, 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: OCTY_CODEC_PORT, 8081.", min=0, max=65_535)] = None,
) -> None:
    """Run the server."""
    given = {name: value for name, value in (("codec_host", host), ("codec_port", port)) if value is not None}
    settings = CodecSettings.from_environment(variables_of(context), **given)
    print_lines(f"Codec server for {settings.codec_ui_origin} at http://{settings.codec_host}:{settings.codec_port}")
    try:
        serve(settings)
    except (OSError, UnicodeError) as error:  # the latter: no name of a host
        raise UnavailableError(
            str(error), "check whether it is running already, or choose another --host or --port"
        ) from None


def _versions_table(found: Sequence[Version]) -> Table:
    """Return one row for each build."""
    columns = ("build id", "current", "drainage")
    return table(
        columns, ((version.build_id, version.current, version.drainage) for version in found), no_wrap=("build id",)
    )
