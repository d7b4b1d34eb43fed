"""`octy` and `python -m octy_worker`: the way in, even where only the middleware's light part is installed."""

import sys


def main() -> None:
    """Run the command line; say which extra is missing when the worker's libraries are not there."""
    try:
        from octy_worker.cli import main as command  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("octy_worker", "octy_workflows", "octy_middleware"):
            raise
        print(  # noqa: T201
            f"octy: {error.name} is not installed. The octy command comes with: pip install 'octy-middleware[worker]'",
            file=sys.stderr,
        )
        sys.exit(2)
    command()


if __name__ == "__main__":
    main()
