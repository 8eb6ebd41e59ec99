"""Types of the OCI image spec (manifest, index, configuration), for the type checker alone.

As in `knarr.spec.types`, the classes do not exist at run time. Names with capitals are
the configuration's own: it was Docker's before it was a standard (image-spec, config.md).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, Required, TypedDict

    class Platform(TypedDict, total=False):
        """What an image runs on."""

        architecture: Required[str]
        os: Required[str]
        variant: str

    class Descriptor(TypedDict, total=False):
        """A reference to a blob: media type, digest, bytes (descriptor.md)."""

        mediaType: Required[str]
        digest: Required[str]
        size: Required[int]
        urls: list[str]
        annotations: dict[str, str]
        data: str
        artifactType: str
        platform: Platform

    class Manifest(TypedDict, total=False):
        """One image: its configuration and its layers, lowest first (manifest.md)."""

        schemaVersion: Required[int]
        mediaType: str
        artifactType: str
        config: Required[Descriptor]
        layers: Required[list[Descriptor]]
        subject: Descriptor
        annotations: dict[str, str]

    class Index(TypedDict, total=False):
        """Manifests of one image for several platforms (image-index.md)."""

        schemaVersion: Required[int]
        mediaType: str
        artifactType: str
        manifests: Required[list[Descriptor]]
        subject: Descriptor
        annotations: dict[str, str]

    class Healthcheck(TypedDict, total=False):
        """Docker's health check; times in nanoseconds."""

        Test: list[str]
        Interval: int
        Timeout: int
        StartPeriod: int
        StartInterval: int
        Retries: int

    class ExecutionConfig(TypedDict, total=False):
        """``config``: how a container of the image runs unless its caller says otherwise."""

        User: str
        ExposedPorts: dict[str, dict[str, str]]
        Env: list[str]
        Entrypoint: list[str]
        Cmd: list[str]
        Volumes: dict[str, dict[str, str]]
        WorkingDir: str
        Labels: dict[str, str]
        StopSignal: str
        ArgsEscaped: bool
        Shell: list[str]
        OnBuild: list[str]
        Healthcheck: Healthcheck

    class RootFS(TypedDict):
        """The digests of the uncompressed layers, lowest first."""

        type: Literal["layers"]
        diff_ids: list[str]

    class History(TypedDict, total=False):
        """How one layer came about; empty_layer: none came."""

        created: str
        author: str
        created_by: str
        comment: str
        empty_layer: bool

    class ImageConfig(TypedDict, total=False):
        """The configuration blob, whose digest is the image's id."""

        architecture: Required[str]
        os: Required[str]
        variant: str
        created: str
        author: str
        config: ExecutionConfig
        rootfs: Required[RootFS]
        history: list[History]
