"""The steps a container's first process runs in its new namespaces, one small class each."""
