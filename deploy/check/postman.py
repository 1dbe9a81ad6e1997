"""The Postman collection is what the document and the flows make; its lock names no host."""

import subprocess

from deploy.check import Finding
from deploy.documents import COLLECTION, POSTMAN, collection


def check() -> None:
    if '"resolved"' in (POSTMAN / "package-lock.json").read_text():
        raise Finding("package-lock.json says where packages came from; .npmrc keeps that out.")
    try:
        made = collection()
    except subprocess.CalledProcessError as error:
        raise Finding(error.stderr) from None
    if COLLECTION.read_text() != made:
        raise Finding(f"{COLLECTION.name} is not current: `make documents` writes it anew.")
