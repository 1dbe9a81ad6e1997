"""TLS to RabbitMQ, as docs/deploy/rabbitmq.md describes it: a CA, names, expiry, client
certificates."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pika.exceptions
import pytest

from actors.nodes import connect, connection_parameters
from config import parse, settings
from tests.conftest import eventually

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass
class Authority:
    """A private CA below a folder; everything it signs lies there, too."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self._openssl("req", "-x509", *CURVE, "-subj", "/CN=A private CA", "-days", "2",
                      "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def sign(self, name: str, host: str, days: str = "1") -> tuple[Path, Path]:
        """A certificate and its key."""
        (self.folder / "names").write_text(f"subjectAltName=DNS:{host}\n")
        self._openssl("req", "-new", *CURVE, "-subj", f"/CN={name}",
                      "-keyout", f"{name}.key", "-out", "request")  # fmt: skip
        self._openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key",
                      "-days", days, "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


@dataclass
class Listener:
    """Takes TLS connections as RabbitMQ does, and what comes first in them; then hangs up."""

    context: ssl.SSLContext
    heard: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(connection, server_side=True) as encrypted:
                    self.heard.append(encrypted.recv(8))
            except OSError as error:
                self.heard.append(repr(error).encode())


Listen = Callable[[tuple[Path, Path], Path | None], Listener]


@pytest.fixture
def listen() -> Iterator[Listen]:
    listeners: list[Listener] = []

    def start(pair: tuple[Path, Path], clients: Path | None = None) -> Listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Its client hears of a certificate that is missing while it connects.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*pair)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients)
        listeners.append(Listener(context))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.socket.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("mq-1", "localhost")


def failure(listener: Listener, **options: str) -> str:
    """What is wrong with a connection; RabbitMQ would have answered where nothing is."""
    url = f"amqps://u:p@localhost:{listener.port}/?ssl_options={options}"
    rabbitmq_url = parse({
        "DATABASE_URL": "postgresql://h", "SECRET_KEY": "x" * 32, "RABBITMQ_URL": url,
    }).rabbitmq_url  # fmt: skip
    given = msgspec.structs.replace(settings(), rabbitmq_url=rabbitmq_url)
    with pytest.raises(pika.exceptions.AMQPConnectionError) as caught:
        connect(connection_parameters(given))
    return str(caught.value)


def test_a_private_authority_is_named_in_the_address(
    authority: Authority, pair: tuple[Path, Path], listen: Listen
) -> None:
    listener = listen(pair, None)

    assert "CERTIFICATE_VERIFY" not in failure(listener, ca_certs=str(authority.ca))
    assert listener.heard == [b"AMQP\0\0\x09\x01"]


def test_one_that_is_not_known_another_name_and_an_old_one_are_told_apart(
    authority: Authority, pair: tuple[Path, Path], listen: Listen, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    elsewhere = authority.sign("mq-2", "mq-2.example")
    old = authority.sign("mq-3", "localhost", days="-1")

    assert "certificate verify failed" in failure(listen(pair, None), ca_certs=str(stranger.ca))
    assert "Hostname mismatch" in failure(listen(elsewhere, None), ca_certs=str(authority.ca))
    assert "certificate has expired" in failure(listen(old, None), ca_certs=str(authority.ca))
    # A name of the certificate may be asked for where the address has another.
    by_name = listen(elsewhere, None)
    failure(by_name, ca_certs=str(authority.ca), server_hostname="mq-2.example")
    assert by_name.heard == [b"AMQP\0\0\x09\x01"]


def test_a_client_shows_its_certificate(
    authority: Authority, pair: tuple[Path, Path], listen: Listen
) -> None:
    certificate, key = authority.sign("holdfast", "holdfast")
    listener = listen(pair, authority.ca)

    failure(listener, ca_certs=str(authority.ca))
    eventually(lambda: b"PEER_DID_NOT_RETURN_A_CERTIFICATE" in b"".join(listener.heard))
    listener.heard.clear()
    failure(listener, ca_certs=str(authority.ca), certfile=str(certificate), keyfile=str(key))
    assert listener.heard == [b"AMQP\0\0\x09\x01"]
