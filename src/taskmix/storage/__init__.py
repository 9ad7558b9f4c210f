"""Storage: a folder or an S3 bucket behind one interface. Nobody outside this package knows which it is.

    from taskmix import storage
    storage.publish(folder, storage.join(root, "datasets", name, version))

Large things are written once as a folder with a manifest (`publish`, `local_copy`), small ones as single objects
(`write_json`, `read_json`). Endpoint, region and keys of S3 come from the standard AWS variables and files.
"""

from taskmix.storage.access import (
    delete_prefix,
    exists,
    list_objects,
    open_store,
    read_bytes,
    read_json,
    write_bytes,
    write_json,
)
from taskmix.storage.auditing import folder_faults, object_faults
from taskmix.storage.fingerprints import fingerprint
from taskmix.storage.gathering import gather
from taskmix.storage.manifest import MANIFEST, Manifest, ManifestEntry
from taskmix.storage.objects import ObjectInfo, Store
from taskmix.storage.publishing import is_complete, local_copy, publish, read_manifest
from taskmix.storage.sources import fetch_file, source_version
from taskmix.storage.uris import join, redact

__all__ = [
    "MANIFEST",
    "Manifest",
    "ManifestEntry",
    "ObjectInfo",
    "Store",
    "delete_prefix",
    "exists",
    "fetch_file",
    "fingerprint",
    "folder_faults",
    "gather",
    "is_complete",
    "join",
    "list_objects",
    "local_copy",
    "object_faults",
    "open_store",
    "publish",
    "read_bytes",
    "read_json",
    "read_manifest",
    "redact",
    "source_version",
    "write_bytes",
    "write_json",
]
