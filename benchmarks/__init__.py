"""What knarr costs, beside the kernel's own floor and beside podman, crun and runc.

``make bench`` runs everything; ``python -m benchmarks start exec`` runs some.
Contestants take turns within one run, so load on the machine hits all of them;
read the ratios, not the milliseconds. Results go to ``benchmarks/out`` as JSON
and as SVG plots, which are not kept in the repository.
"""
