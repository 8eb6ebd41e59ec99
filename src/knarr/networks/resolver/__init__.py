"""The DNS server of all containers: one process a run root, answering in their namespaces."""
