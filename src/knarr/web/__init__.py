"""A small HTTP/1.1 server: h11 reads and writes the heads, threads and sendfile(2) move the bodies.

It knows nothing of what it serves. A handler takes a ``Request`` and returns a ``Response``;
``server.Server`` does the rest: connections, limits, TLS, an orderly end.
"""
