"""A release as one folder of storage, which is what KServe brings to a server."""

from __future__ import annotations

from taskmix import storage
from taskmix.modeling.system import SYSTEM_FILE, parse_system_record
from taskmix.serving.releases import read_release


def assemble(release: str) -> str:
    """Gather all that a server of the release needs in one folder of storage, written once.

    KServe brings one folder to a server; a system may have several bundles. The service copies them, so that weights
    do not pass through here where storage is S3.

    Returns:
        The folder's URI, which ends with a slash: without it KServe would also bring what begins with the same name.
    """
    record = read_release(release)
    system = parse_system_record(record["record"], uri=release)
    parts = {f"bundles/{number}": bundle for number, bundle in enumerate(system.bundles)}
    exports = {name.replace("bundles/", "exports/"): part.export for name, part in parts.items() if part.export}
    inside = [
        bundle.model_copy(
            update={"uri": name, "export": name.replace("bundles/", "exports/") if bundle.export else None}
        )
        for name, bundle in parts.items()
    ]
    text = system.model_copy(update={"bundles": tuple(inside)}).model_dump_json(indent=2) + "\n"
    uri = storage.join(release.rpartition("/history/")[0], "releases", str(record["run"]))
    about = {"kind": "release", "run": str(record["run"]), "system": system.name}
    storage.gather(
        {**{name: bundle.uri for name, bundle in parts.items()}, **exports},
        uri,
        files={SYSTEM_FILE: text.encode()},
        about=about,
    )
    return f"{uri}/"
