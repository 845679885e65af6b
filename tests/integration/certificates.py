# SPDX-License-Identifier: MIT
"""A CA of a test's own, and the certificates that it issues, made with openssl(1)."""
import os
import subprocess

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


class Authority:
    """`ca` is the path of its certificate."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = folder, name
        self.ca, self.key = self.path(".pem"), self.path(".key")
        openssl("req", "-x509", *NEW_KEY, "-keyout", self.key, "-out", self.ca, "-days", "2", "-subj", f"/CN=test {name}")

    def path(self, end):
        return os.path.join(self.folder, self.name + end)

    def issue(self, name, alternatives="DNS:localhost,IP:127.0.0.1", days=2):
        """The paths of a new certificate and its key."""
        base = self.path("-" + name)
        openssl("req", *NEW_KEY, "-keyout", base + ".key", "-out", base + ".csr", "-subj", f"/CN={name}",
                "-addext", f"subjectAltName={alternatives}")
        openssl("x509", "-req", "-in", base + ".csr", "-CA", self.ca, "-CAkey", self.key, "-CAcreateserial",
                "-days", str(days), "-copy_extensions", "copyall", "-out", base + ".pem")
        return base + ".pem", base + ".key"

    def server_settings(self, port, certificate=None, clients=None, **settings):
        """Arguments of redis-server for TLS on `port`; `clients` is the CA that its clients must have a certificate of, None
        when they need none, and others are named as in redis.conf."""
        certificate, key = certificate or self.issue("redis")
        options = {"tls-port": port, "tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": clients or self.ca,
                   "tls-auth-clients": "yes" if clients else "no",
                   **{name.replace("_", "-"): value for name, value in settings.items()}}
        return [word for name, value in options.items() for word in ("--" + name, str(value))]
