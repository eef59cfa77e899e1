"""Names of the files that say something of an output."""

from __future__ import annotations

META = ".pixmix"  # the folder in an output that is being written
MANIFEST = "manifest.json"
ROWS = "manifest.jsonl"
ERRORS = "errors.jsonl"
PLAN = f"{META}/plan.json"
LISTING = "listing"  # in META: the source as the first of several parts found it
JOURNALS = f"{META}/journal*.jsonl"  # of a run of its own, and of parts
HANDED_OUT = f"{META}/handed-out*.jsonl"  # names of what workers were given to write
TRASH = "trash.jsonl"  # rows of what --overwrite is removing, so that a kill cannot orphan it
BAKE_EXTRAS = ("classes.json", "README.md")  # written beside a baked set's manifest
