"""What flows through Vigil: events, keys and hashes, manifests of artifacts."""
