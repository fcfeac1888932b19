"""Drives a server with the unmodified `azure-containerregistry`, sync and async.

Arguments: the server's endpoint, and the client id of a service principal. Its secret is in
`CLIENT_SECRET`; `REQUESTS_CA_BUNDLE` (sync) and `SSL_CERT_FILE` (async) name the server's
certificate authority.
"""

import asyncio
import hashlib
import io
import json
import os
import sys
import time
import urllib.parse
import urllib.request

from azure.containerregistry import (
    ArtifactManifestOrder,
    ArtifactTagOrder,
    ContainerRegistryClient,
    DigestValidationError,
)
from azure.containerregistry.aio import ContainerRegistryClient as AsyncContainerRegistryClient
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

ENDPOINT, CLIENT_ID = sys.argv[1:3]
IMAGE = "application/vnd.oci.image.manifest.v1+json"
# More than two of the client's chunks of 4 MiB, and not a whole number of them.
LAYER = bytes(range(256)) * (9 * 4096) + b"the rest"
CONFIG = json.dumps({"architecture": "amd64", "os": "linux"}).encode()


def login():
    """An access token of our own: the grant `client_credentials`."""
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": os.environ["CLIENT_SECRET"],
        "scope": "https://containerregistry.azure.net/.default",
    }
    data = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(ENDPOINT + "/oauth2/token", data) as answer:
        token = json.load(answer)
    return AccessToken(token["access_token"], int(time.time()) + token["expires_in"])


class Credential:
    def get_token(self, *scopes, **_):
        assert scopes, "the client names what it wants"
        return login()


class AsyncCredential:
    async def get_token(self, *scopes, **_):
        assert scopes, "the client names what it wants"
        return await asyncio.to_thread(login)

    async def close(self):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def manifest(note):
    layer = "application/vnd.oci.image.layer.v1.tar"
    config = "application/vnd.oci.image.config.v1+json"
    return {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": config, "digest": digest(CONFIG), "size": len(CONFIG)},
        "layers": [{"mediaType": layer, "digest": digest(LAYER), "size": len(LAYER)}],
        "annotations": {"note": note},
    }


def refused(status, error):
    assert error.status_code == status, error
    return error


def expect(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except HttpResponseError as error:
        return refused(status, error)
    raise AssertionError(f"{call.__name__} was not refused with {status}")


def drive():
    client = ContainerRegistryClient(ENDPOINT, Credential())
    repository = "azure/sync"
    pushed, size = client.upload_blob(repository, io.BytesIO(LAYER))
    assert (pushed, size) == (digest(LAYER), len(LAYER))
    assert client.upload_blob(repository, io.BytesIO(CONFIG))[0] == digest(CONFIG)
    first = client.set_manifest(repository, manifest("1"), tag="1")
    second = client.set_manifest(repository, manifest("2"), tag="2")
    third = client.set_manifest(repository, manifest("3"))
    assert len({first, second, third}) == 3

    got = client.get_manifest(repository, "1")
    assert (got.digest, got.media_type) == (first, IMAGE)
    assert got.manifest["annotations"] == {"note": "1"}
    assert client.get_manifest(repository, third).manifest["annotations"] == {"note": "3"}
    assert b"".join(client.download_blob(repository, digest(LAYER))) == LAYER
    try:
        client.set_manifest(repository, io.BytesIO(b"{}"))
        raise AssertionError("an empty manifest was taken")
    except (HttpResponseError, DigestValidationError):
        pass

    assert list(client.list_repository_names()) == ["azure/sync", "public/app"]
    assert list(client.list_repository_names(results_per_page=1)) == ["azure/sync", "public/app"]
    properties = client.get_repository_properties(repository)
    assert (properties.name, properties.manifest_count, properties.tag_count) == (repository, 3, 2)
    assert properties.can_delete and properties.can_write and properties.can_list and properties.can_read
    assert properties.created_on <= properties.last_updated_on

    def tags(**kwargs):
        return [tag.name for tag in client.list_tag_properties(repository, **kwargs)]

    assert tags() == ["1", "2"]
    assert tags(results_per_page=1) == ["1", "2"]
    newest = ArtifactTagOrder.LAST_UPDATED_ON_DESCENDING
    assert tags(order_by=newest, results_per_page=1) == ["2", "1"]
    one = client.get_tag_properties(repository, "1")
    assert (one.name, one.digest, one.can_write) == ("1", first, True)
    orders = {
        ArtifactManifestOrder.LAST_UPDATED_ON_ASCENDING: [first, second, third],
        ArtifactManifestOrder.LAST_UPDATED_ON_DESCENDING: [third, second, first],
    }
    for order, expected in orders.items():
        found = client.list_manifest_properties(repository, order_by=order, results_per_page=2)
        assert [it.digest for it in found] == expected, order
    for reference in (first, "1"):
        it = client.get_manifest_properties(repository, reference)
        assert (it.digest, it.tags) == (first, ["1"])
        assert (it.architecture, it.operating_system) == ("amd64", "linux")
        assert it.size_in_bytes > len(LAYER) + len(CONFIG)

    # Locks: of a tag, of a manifest, of the repository.
    locked = client.update_tag_properties(repository, "1", can_write=False)
    assert (locked.can_write, locked.can_delete) == (False, True)
    expect(405, client.set_manifest, repository, manifest("2"), tag="1")
    expect(405, client.delete_tag, repository, "1")
    client.update_tag_properties(repository, "1", can_write=True)
    locked = client.update_manifest_properties(repository, second, can_delete=False, can_read=False)
    assert (locked.can_write, locked.can_delete, locked.can_read) == (True, False, False)
    expect(405, client.delete_manifest, repository, second)
    expect(405, client.get_manifest, repository, second)
    error = expect(405, client.delete_repository, repository)
    assert "operation is disallowed" in str(error), error
    client.update_manifest_properties(repository, second, can_delete=True, can_read=True)
    locked = client.update_repository_properties(repository, can_list=False, can_write=False)
    assert (locked.can_list, locked.can_write, locked.can_read) == (False, False, True)
    assert list(client.list_repository_names()) == ["public/app"]
    expect(405, client.upload_blob, repository, io.BytesIO(b"new"))
    client.update_repository_properties(repository, can_list=True, can_write=True)

    client.delete_tag(repository, "1")
    assert tags() == ["2"]
    client.delete_tag(repository, "1")
    client.delete_manifest(repository, second)
    assert tags() == []
    expect(404, client.get_tag_properties, repository, "2")
    client.delete_blob(repository, client.upload_blob(repository, io.BytesIO(b"alone"))[0])
    client.delete_repository(repository)
    client.delete_repository(repository)
    try:
        client.get_repository_properties(repository)
        raise AssertionError("it is there")
    except ResourceNotFoundError:
        pass


def drive_as_nobody():
    client = ContainerRegistryClient(ENDPOINT)
    assert list(client.list_repository_names()) == ["public/app"]
    assert [tag.name for tag in client.list_tag_properties("public/app")] == ["1"]
    assert client.get_manifest("public/app", "1").manifest["annotations"] == {"note": "public"}
    assert b"".join(client.download_blob("public/app", digest(CONFIG))) == CONFIG
    expect(401, client.get_repository_properties, "azure/sync")
    expect(401, client.update_tag_properties, "public/app", "1", can_write=False)
    expect(401, client.upload_blob, "public/app", io.BytesIO(b"new"))
    expect(401, client.delete_repository, "public/app")


def prepare():
    with ContainerRegistryClient(ENDPOINT, Credential()) as client:
        client.upload_blob("public/app", io.BytesIO(LAYER))
        client.upload_blob("public/app", io.BytesIO(CONFIG))
        client.set_manifest("public/app", manifest("public"), tag="1")


async def drive_async():
    repository = "azure/aio"
    async with AsyncContainerRegistryClient(ENDPOINT, AsyncCredential()) as client:
        pushed, size = await client.upload_blob(repository, io.BytesIO(LAYER))
        assert (pushed, size) == (digest(LAYER), len(LAYER))
        await client.upload_blob(repository, io.BytesIO(CONFIG))
        first = await client.set_manifest(repository, manifest("1"), tag="1")
        got = await client.get_manifest(repository, "1")
        assert (got.digest, got.manifest["annotations"]) == (first, {"note": "1"})
        stream = await client.download_blob(repository, digest(LAYER))
        assert b"".join([chunk async for chunk in stream]) == LAYER
        names = [name async for name in client.list_repository_names(results_per_page=1)]
        assert names == [repository, "public/app"], names
        assert [it.name async for it in client.list_tag_properties(repository)] == ["1"]
        assert [it.digest async for it in client.list_manifest_properties(repository)] == [first]
        assert (await client.get_manifest_properties(repository, "1")).tags == ["1"]
        assert (await client.get_tag_properties(repository, "1")).digest == first
        locked = await client.update_tag_properties(repository, "1", can_delete=False)
        assert locked.can_delete is False
        try:
            await client.delete_tag(repository, "1")
            raise AssertionError("a locked tag was deleted")
        except HttpResponseError as error:
            refused(405, error)
        await client.update_tag_properties(repository, "1", can_delete=True)
        await client.update_manifest_properties(repository, first, can_list=False)
        assert [it.digest async for it in client.list_manifest_properties(repository)] == []
        await client.update_repository_properties(repository, can_write=True)
        assert (await client.get_repository_properties(repository)).manifest_count == 1
        await client.delete_tag(repository, "1")
        await client.delete_manifest(repository, first)
        await client.delete_repository(repository)
    async with AsyncContainerRegistryClient(ENDPOINT) as client:
        assert [it.name async for it in client.list_tag_properties("public/app")] == ["1"]


prepare()
drive()
drive_as_nobody()
asyncio.run(drive_async())
print("the client is content")
