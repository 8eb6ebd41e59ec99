"""Ports: what a container publishes and exposes, where on the host that is, and who has it.

``specs`` reads Docker's texts, ``plan`` decides what is wanted of the host, ``reserve`` takes it
before anything is started, ``shown`` says it in Docker's objects.
"""
