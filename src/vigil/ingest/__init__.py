"""Raw files in, validated canonical events out: mappings, checks, quarantine, silent feeds, reports.

`vigil.ingest.run.ingest_file` is the way in.
"""
