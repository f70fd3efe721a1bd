"""What several tests share and is made once."""

import pytest
from toy_run import Run, toy_run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A bundle trained on a tiny world whose text holds a canary, and all that was written and said."""
    return toy_run(tmp_path_factory.mktemp("trained"))
