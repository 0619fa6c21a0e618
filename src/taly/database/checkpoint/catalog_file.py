"""A catalog as a file."""

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from taly.database.checkpoint.folder import write_file
from taly.database.checkpoint.manifest import broken, document
from taly.model.catalog import FORMAT_VERSION, Catalog

BEFORE = "catalog.json"
AFTER = "catalog-after.json"

STRICT = TypeAdapter(Catalog)


def write_catalog(path: Path, catalog: Catalog) -> None:
    """Write it as JSON."""
    body = {"format_version": FORMAT_VERSION, "catalog": STRICT.dump_python(catalog, mode="json")}
    write_file(path, json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n")


def read_catalog_file(path: Path) -> Catalog:
    """Read it; Refused when it is not whole or of another format."""
    try:
        body = document(path)
        if body["format_version"] != FORMAT_VERSION:
            raise broken(path, f"it has format {body['format_version']}")
        return STRICT.validate_json(json.dumps(body["catalog"]), strict=True)
    except OSError as error:
        raise broken(path, error.strerror or type(error).__name__) from error
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise broken(path, "it is no catalog, or not all of one") from error
