"""A registry: the server half of the OCI distribution specification.

    application.py   a request to an answer: who may, which endpoint, errors
    blobs.py, manifests.py, listings.py   the endpoints
    uploads.py       blobs on their way in, which survive a restart
    catalogue.py     the SQLite file: repositories, tags, manifests, who has which blob
    garbage.py       what nobody refers to any more goes
    service.py       all of it together, listening

Bytes lie in a content store under their digests. Names of repositories and tags are values in
the catalogue and never become names of files.
"""
