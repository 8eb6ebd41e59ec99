"""Content-addressed blobs: the bytes of images, verified on the way in."""
