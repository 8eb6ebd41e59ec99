"""Images: names, manifests, archives, base images and what removes them again.

``service.Images`` is the way in; ``index.ImageIndex`` is what it asks of a database.
"""
