"""MLflow's own servers as a user starts them: a child process on a free port of loopback, ended with all it started."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

BIN = Path(sys.executable).parent
PATIENCE_S = 180  # a cold start of MLflow's server imports for 10 s on a free core
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextmanager
def mlflow_server(*arguments: str, uri: str, ready: str, log: Path) -> Iterator[str]:
    """``mlflow ARGUMENTS`` on the store ``uri``; yields its address once its path ``ready`` answers."""
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    command = [str(BIN / "mlflow"), *arguments, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # as in an activated environment: MLflow starts uvicorn by name
    environment = os.environ | QUIET | {"PATH": path, "MLFLOW_TRACKING_URI": uri}
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, env=environment, cwd=log.parent, stdout=said, stderr=said, start_new_session=True
        )
    try:
        _wait(process, address + ready, log)
        yield address
    finally:
        _end(process)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        with suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"expected an answer of {url}, exit status {process.poll()}:\n{log.read_text()[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole process group: MLflow's command is only the parent of what serves."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
