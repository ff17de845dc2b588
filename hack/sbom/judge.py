"""Judges a bill of materials: by the schema of CycloneDX, and by what it says of itself. One argument: the file."""
import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = Path(sys.argv[1]).read_text()
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
if problem:
    sys.exit(f"error: {sys.argv[1]} is no CycloneDX 1.6: {problem}")
bom = json.loads(text)
known = {one["bom-ref"] for one in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
named = {ref for one in bom["dependencies"] for ref in [one["ref"], *one["dependsOn"]]}
if known != named:
    sys.exit(f"error: components and dependencies differ: {sorted(known ^ named)}")
bare = [one["bom-ref"] for one in bom["components"] if not one.get("hashes") or not one.get("licenses")]
if bare:
    sys.exit(f"error: without checksum or licence: {bare}")
print(f"bill of materials: {len(bom['components'])} components, valid CycloneDX {bom['specVersion']}")
