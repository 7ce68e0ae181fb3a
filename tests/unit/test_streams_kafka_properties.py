"""Settings of the Kafka client: passed through, kept secret, and refused where they would break a promise."""

import datetime
import ipaddress
import socket
import ssl
import threading
from pathlib import Path

import pytest

from streams.exceptions import BadProperty, BrokerUnavailable
from streams.kafka import KafkaTransport
from streams.kafka_properties import KafkaProperties

_SECRET = "correct-horse-battery"
_SASL = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "twin",
    "sasl.password": _SECRET,
}


def test_secrets_are_in_no_representation() -> None:
    transport = KafkaTransport("127.0.0.1:1", _SASL)
    producer, consumer = transport.producer("p"), transport.consumer("c", "g")
    for thing in (transport, producer, consumer):
        assert _SECRET not in repr(thing)
        assert "SCRAM-SHA-512" in repr(thing)
        assert "127.0.0.1:1" in repr(thing)
    transport.close()


def test_secrets_are_in_no_error() -> None:
    bad = {"ssl.key.password": _SECRET, "ssl.key.pem": f"not a key: {_SECRET}", "security.protocol": "SSL"}
    with pytest.raises(BadProperty) as caught:
        KafkaTransport("127.0.0.1:1", bad)
    assert _SECRET not in str(caught.value)
    assert _SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert KafkaProperties("h:1", _SASL).scrub(f"login {_SECRET} failed") == "login *** failed"


def test_an_unknown_property_is_named() -> None:
    with pytest.raises(BadProperty, match=r"no\.such\.property"):
        KafkaTransport("127.0.0.1:1", {"no.such.property": "x"})


@pytest.mark.parametrize("name", ["acks", "enable.auto.commit", "partitioner", "bootstrap.servers", "group.id"])
def test_what_the_promises_rest_on_cannot_be_set(name: str) -> None:
    with pytest.raises(BadProperty, match=name):
        KafkaTransport("127.0.0.1:1", {name: "1"})


def test_a_broker_that_is_not_there_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka._ADMIN_S", 0.2)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1") as caught:
        KafkaTransport("127.0.0.1:1").partitions(["telemetry.pm"])
    assert "twinloop up" in caught.value.remedy


def test_tls_settings_reach_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with a certificate of its own authority completes the handshake and gets a Kafka request."""
    monkeypatch.setattr("streams.kafka._ADMIN_S", 0.5)
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    received = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not received.is_set():
            try:
                with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                    if connection.recv(4):
                        received.set()
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        transport = KafkaTransport(
            f"127.0.0.1:{port}", {"security.protocol": "SSL", "ssl.ca.location": str(certificate)}
        )
        with pytest.raises(BrokerUnavailable):
            transport.partitions(["telemetry.pm"])  # it speaks TLS, not Kafka
        assert received.wait(5)


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path
