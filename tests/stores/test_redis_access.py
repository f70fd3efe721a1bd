"""Ways to reach a server: passwords, users with few rights, TLS, clusters, clients that are handed in."""

import datetime
import ipaddress
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import redis
import redis_server
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis_server import Server, history, row, same

from fingerprint.stores import RedisStore, Standing, StoreError

pytestmark = pytest.mark.skipif(redis_server.BINARY is None, reason="no redis-server on this machine")
RIGHTS = "resetkeys ~fp:* -@all +evalsha +script|load +hmget +hget +hset +hsetnx +hdel +hstrlen +del +expire +exists"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def free_cluster_port() -> int:
    """One whose bus port, 10,000 higher, is a port and free as well."""
    for port in range(20_000, 50_000, 7):
        with socket.socket() as one, socket.socket() as bus, suppress(OSError):
            one.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10_000))
            return port
    raise AssertionError("no two ports are free")


def works(store: RedisStore, count: int = 40) -> None:
    for number in range(count):
        assert same(store.add("a", *row(number)).windows, history(range(number + 1)))
    store.stand("a", Standing(1, 2, 0, 0))
    (_, seen) = store.add_many([("b", *row(1)), ("a", *row(count))])
    assert same(seen.windows, history(range(count + 1)))
    assert seen.standing.level == 1
    assert "store_errors" not in store.counts
    store.close()


def test_a_password(tmp_path: Path) -> None:
    with Server(tmp_path, "--requirepass", "open sesame").start(password="open sesame") as server:
        works(RedisStore(server.url, password="open sesame"))
        for store in (RedisStore(server.url), RedisStore(server.url, password="other")):
            assert store.add("a", *row(0)).new
            assert store.counts["outages"] == 1


def test_a_user_with_few_rights(tmp_path: Path) -> None:
    with Server(tmp_path, "--user", "replica", "on", ">secret", *RIGHTS.split()).start() as server:
        works(RedisStore(server.url, username="replica", password="secret", log_rows=5, ids=10))
        store = RedisStore(server.url, username="replica", password="secret", prefix="other:")
        assert store.add("a", *row(0)).new
        assert store.counts["outages"] == 1


def certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    begun = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    begun = (
        begun.serial_number(1)
        .not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(1))
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    own = x509.BasicConstraints(ca=True, path_length=None)
    signed = begun.add_extension(names, critical=False).add_extension(own, critical=True).sign(key, hashes.SHA256())
    (directory / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (directory / "key.pem").write_bytes(secret)


def test_tls(tmp_path: Path) -> None:
    certificate(tmp_path)
    port, cert = free_port(), str(tmp_path / "cert.pem")
    options = ["--tls-port", str(port), "--tls-cert-file", cert, "--tls-key-file", str(tmp_path / "key.pem")]
    with Server(tmp_path, *options, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no").start():
        works(RedisStore(f"rediss://localhost:{port}/0", ssl_ca_certs=cert))
        store = RedisStore(f"rediss://localhost:{port}/0")  # the certificate is of nobody that is trusted
        assert store.add("a", *row(0)).new
        assert store.counts["outages"] == 1


def test_a_cluster(tmp_path: Path) -> None:
    """One node that has all slots; the client follows the rules of clusters."""
    port = free_cluster_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes"]
    with Server(tmp_path, *options).start() as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while client.cluster("info")["cluster_state"] != "ok":
                pass
        with redis.RedisCluster("127.0.0.1", port) as cluster:
            works(RedisStore(client=cluster))


def test_a_client_that_was_handed_in_stays_open(tmp_path: Path) -> None:
    with Server(tmp_path).start() as server, server.client() as client:
        works(RedisStore(client=client))
        assert client.ping()


def test_a_client_that_decodes_is_refused() -> None:
    with redis.Redis(decode_responses=True) as client, pytest.raises(StoreError, match="bytes"):
        RedisStore(client=client)


@pytest.mark.parametrize("url", ["nonsense", "redis://:secret@[::1", "redis://localhost/0?socket_timeout=secret"])
def test_a_bad_url_is_said_without_it(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        RedisStore(url)
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_the_extra_is_named_where_it_is_missing() -> None:
    program = "import sys; sys.modules['redis'] = None\nfrom fingerprint.stores import MemoryStore, RedisStore"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "fingerprint[redis]" in done.stderr
