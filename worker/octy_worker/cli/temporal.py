"""`octy temporal` and `octy codec-server`: what can be typed, with its help.

Here: options and the order of steps. Not here: versions (`octy_worker.temporal.deployment`), encryption, and who may ask the codec
server (`octy_worker.temporal.codec_server`).
"""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from typing import TYPE_CHECKING, Annotated

import typer

from octy_worker.cli.context import staff_actor, temporal_place, variables_of
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import Actor, AsJson
from octy_worker.cli.output import print_json, print_lines, print_page, printing_result
from octy_worker.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from octy_worker.temporal.access import TemporalAccess

app = typer.Typer(no_args_is_help=True, help="Releases of the worker, where OCTY_TEMPORAL_DEPLOYMENT versions them.")

VERSIONS_JSON = "deployment, versions[build_id, current, drainage: '' | draining | drained]"
PROMOTE_JSON = "deployment, build_id, actor"
CODEC_HELP = help_text(
    "Let Temporal's Web UI and command line read encrypted payloads, until told to stop.",
    "octy --env-file octy.env codec-server",
    "octy codec-server --port 8081",
    more="It needs OCTY_TEMPORAL_KEYS and answers the Web UI of OCTY_CODEC_UI_ORIGIN (http://127.0.0.1:8233) and "
    "programs on this machine. To listen elsewhere, set OCTY_CODEC_TOKEN, behind a proxy that ends TLS.",
)


@app.command(
    "versions",
    help=help_text(
        "List the releases of the worker that Temporal has seen, newest first.",
        "octy temporal versions",
        more="Draining: workflows are still bound to it. With ours that lasts only as long as a task.",
        json=VERSIONS_JSON,
    ),
)
def list_versions(context: typer.Context, as_json: AsJson = False) -> None:
    """Show one line a version."""
    import asyncio

    from octy_worker.cli.views import versions as view
    from octy_worker.temporal.access import fetch_versions

    place = _versioned(context)
    found = asyncio.run(fetch_versions(place))
    if as_json:
        print_json({"deployment": place.temporal_deployment, "versions": found})
    elif found:
        print_page(view.list_table(found))
    else:
        print_lines(f"No worker of the deployment {place.temporal_deployment} has asked for work yet.")


@app.command(
    "promote",
    help=help_text(
        "Give all workflows to one release of the worker, waiting cases too.",
        "octy --env-file octy.env temporal promote",
        "octy temporal promote --build-id 1.4.0 --timeout 60",
        "octy temporal promote --unversioned",
        more="The last step of a deployment: until a release is current it gets nothing. It waits until a worker of it "
        "asks for work. To go back, promote the older release while its workers run; to leave versioning, "
        "promote --unversioned once workers without OCTY_TEMPORAL_DEPLOYMENT run.",
        json=PROMOTE_JSON,
    ),
)
def promote(
    context: typer.Context,
    *,
    build_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which release. Default: OCTY_TEMPORAL_BUILD_ID, else the one installed here."),
    ] = None,
    unversioned: Annotated[bool, typer.Option("--unversioned", help="Workers without a version.")] = False,
    timeout: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for a worker of it.")] = 30.0,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make it current."""
    import asyncio

    from octy_worker.staff.audit import record
    from octy_worker.temporal.access import promote_version

    if unversioned and build_id:
        raise UsageError("which one?", "give --build-id or --unversioned")
    place, who = _versioned(context), staff_actor(context, actor)
    chosen = "" if unversioned else build_id or place.temporal_build_id
    asyncio.run(promote_version(place, chosen, identity=f"octy temporal promote by {who}", timeout=timeout))
    name = chosen or "workers without a version"
    record("version_promoted", who, deployment=place.temporal_deployment, build_id=chosen)
    with printing_result(f"{name} is current"):
        if as_json:
            print_json({"deployment": place.temporal_deployment, "build_id": chosen, "actor": who})
        else:
            print_lines(f"All workflows of {place.temporal_deployment} go to {name} now.")


def _versioned(context: typer.Context) -> "TemporalAccess":
    place = temporal_place(context)
    if not place.temporal_deployment:
        raise UsageError(
            "workers are not versioned: OCTY_TEMPORAL_DEPLOYMENT is not set",
            "nothing is to be promoted; a new release is started in the old one's place",
        )
    return place


def codec_server(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Where to listen. Default: OCTY_CODEC_HOST, 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: OCTY_CODEC_PORT, 8081.", min=0, max=65_535)] = None,
) -> None:
    """Serve."""
    from octy_worker.temporal.codec_server import CodecSettings, serve

    given = {name: value for name, value in (("codec_host", host), ("codec_port", port)) if value is not None}
    settings = CodecSettings.from_environment(variables_of(context), **given)
    print_lines(f"Codec server for {settings.codec_ui_origin} at http://{settings.codec_host}:{settings.codec_port}")
    try:
        serve(settings)
    except OSError as error:
        raise UnavailableError(str(error), "is it running already? choose another --port") from None
