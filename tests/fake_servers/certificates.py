# SPDX-License-Identifier: Apache-2.0
"""Certificates for servers of tests, made with openssl.

    ca = Authority(folder)
    certificate, key = ca.issue("good", "IP:127.0.0.1,DNS:localhost")
    ca.issue("expired", "IP:127.0.0.1", days=-1)
    pin(certificate)                                    # "sha256//…" of its public key, as curl takes it
"""
import base64
import hashlib
import subprocess

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def openssl(*words, **more):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, **more).stdout


class Authority:
    def __init__(self, folder, name="tests"):
        self.folder = str(folder)
        self.file, self.key = f"{folder}/{name}-ca.pem", f"{folder}/{name}-ca.key"
        openssl("req", "-x509", *NEW_KEY, "-keyout", self.key, "-out", self.file, "-days", "2", "-subj", f"/CN={name} CA",
                "-addext", "basicConstraints=critical,CA:TRUE")

    def issue(self, name, names, days=2):
        """(certificate, key) of a server with these subjectAltNames; of less than no days is expired."""
        base = f"{self.folder}/{name}"
        openssl("req", *NEW_KEY, "-keyout", base + ".key", "-out", base + ".csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", base + ".csr", "-CA", self.file, "-CAkey", self.key, "-CAcreateserial", "-days", str(days),
                "-out", base + ".pem", "-extfile", "/dev/stdin", input=f"subjectAltName={names}".encode())
        return base + ".pem", base + ".key"


def pin(certificate):
    public = openssl("x509", "-in", certificate, "-noout", "-pubkey")
    der = openssl("pkey", "-pubin", "-outform", "DER", input=public)
    return "sha256//" + base64.b64encode(hashlib.sha256(der).digest()).decode()
