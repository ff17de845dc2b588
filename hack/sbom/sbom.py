"""The bill of materials of the operator's binary: a CycloneDX 1.6 document on standard output.

Its components are the crates that the operator is built from on Linux, those that only build it included, as Cargo.lock pins
them, with the checksums of the archives that cargo downloads. The same Cargo.lock gives the same bytes; SOURCE_DATE_EPOCH, if
set, is written down as the time.
"""
import json
import os
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "databricks-app-operator"
PLATFORM = "x86_64-unknown-linux-gnu"


def metadata():
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--format-version", "1", "--filter-platform", PLATFORM]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def checksums():
    """By name and version; packages of the workspace have none."""
    found = {}
    for block in (ROOT / "Cargo.lock").read_text().split("[[package]]")[1:]:
        fields = dict(re.findall(r'^(name|version|checksum) = "(.*)"$', block, re.MULTILINE))
        if "checksum" in fields:
            found[fields["name"], fields["version"]] = fields["checksum"]
    return found


def reached(nodes, start):
    """What is needed to build `start`, tests apart: each package's dependencies by id."""
    edges, left = {}, [start]
    while left:
        this = left.pop()
        if this in edges:
            continue
        needed = nodes[this]["deps"]
        edges[this] = sorted({d["pkg"] for d in needed if any(kind["kind"] != "dev" for kind in d["dep_kinds"])})
        left.extend(edges[this])
    return edges


def component(package, checksum):
    purl = f"pkg:cargo/{package['name']}@{package['version']}"
    made = {"type": "library", "bom-ref": purl, "name": package["name"], "version": package["version"], "purl": purl}
    if package["description"]:
        made["description"] = " ".join(package["description"].split())
    if package["license"]:
        # The older way to write OR.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def main():
    said, sums = metadata(), checksums()
    packages = {p["id"]: p for p in said["packages"]}
    start = next(p["id"] for p in said["packages"] if p["name"] == PACKAGE)
    edges = reached({n["id"]: n for n in said["resolve"]["nodes"]}, start)
    made = {}
    for key in edges:
        package = packages[key]
        checksum = sums.get((package["name"], package["version"]))
        if not checksum and key != start:
            sys.exit(f"error: Cargo.lock has no checksum of {package['name']} {package['version']}: it does not come from a registry")
        made[key] = component(package, checksum)
    root = {**made[start], "type": "application"}
    about = {"component": root}
    if "SOURCE_DATE_EPOCH" in os.environ:
        about["timestamp"] = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc).isoformat()
    reference = {key: one["bom-ref"] for key, one in made.items()}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": about,
        "components": sorted((one for key, one in made.items() if key != start), key=lambda one: one["bom-ref"]),
        "dependencies": sorted(
            ({"ref": reference[key], "dependsOn": [reference[d] for d in edges[key]]} for key in edges), key=lambda one: one["ref"]
        ),
    }
    name = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    json.dump({"serialNumber": f"urn:uuid:{name}", **document}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
