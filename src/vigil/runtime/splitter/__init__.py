"""The splitter: one endpoint in front of all revisions, by weight, sticky by entity, with mirrored shadow traffic."""
