"""Image archives: docker-archive and OCI layout, in and out."""
