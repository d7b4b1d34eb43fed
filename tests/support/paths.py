"""Folders of the project that tests and proofs read."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
DEPLOY = ROOT / "worker" / "deploy"
