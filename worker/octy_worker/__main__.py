"""`python -m octy_worker` is `octy`."""

from octy_worker.cli import main

main()
