"""knarr: a container engine as a library, a command and an API."""
