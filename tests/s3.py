"""A real S3 server on this machine, which can be stopped and started again with what it keeps."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.request import Request, urlopen

from tests.pipeline.clusters import free_ports

BUCKET = "runs"


class Server:
    """moto's, in a thread of this process. `environment` is what its clients are told."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)  # none that the kernel gives to a client while the server is away
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.start()
        urlopen(Request(f"http://127.0.0.1:{self.port}/moto-api/reset", method="POST")).close()
        assert self.keys("") == []

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        self._server._server.server_close()  # else connections wait where nobody takes them

    @contextmanager
    def away(self) -> Iterator[None]:
        """Within the block nothing listens there."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    # What is in the bucket, behind the back of those who are tested

    @cached_property
    def _client(self) -> Any:
        import boto3

        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], **keys)
        client.create_bucket(Bucket=BUCKET)
        return client

    def keys(self, prefix: str) -> list[str]:
        """The keys that start so."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def read(self, key: str) -> bytes:
        return self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def write(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=key)
