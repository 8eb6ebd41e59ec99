"""The client of image registries: bytes, digests, host names and repository paths.

Knows nothing of images, references or stores; ``repository.Repository`` is its face.
Protocol: OCI distribution specification 1.1, and the token flow of the distribution project.
"""
