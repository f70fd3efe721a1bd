"""Where the real corpora lie, for the tests that need them: ``FINGERPRINT_CORPORA``, or beside the checkout."""

import os
from pathlib import Path

import pytest

CORPORA = Path(os.environ.get("FINGERPRINT_CORPORA") or Path(__file__).parents[2] / "shared" / "corpora")
needs_corpora = pytest.mark.skipif(
    not (CORPORA / "sources.csv").is_file(),
    reason="no real corpora: neither ../shared/corpora nor the folder that FINGERPRINT_CORPORA names",
)
