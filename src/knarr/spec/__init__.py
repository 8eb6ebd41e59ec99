"""The OCI specifications' data, pure: mounts, capabilities, signals, and types for the checker."""
