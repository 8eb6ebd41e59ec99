"""One module a verb; its name is the verb (``image_prune`` is ``image prune``)."""
