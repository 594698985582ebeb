"""The local runtime: revisions as child processes behind a splitter, with the semantics of a cluster."""
