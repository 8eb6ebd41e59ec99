"""Images to and from registries: what ``pull``, ``push`` and ``manifest`` do."""
