"""Where the tests find what they read."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared" / "data"  # what people made: beside the repository, or not there

NO_SHARED = "the shared data is not beside the repository (../shared/data)"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=NO_SHARED)
