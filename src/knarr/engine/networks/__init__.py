"""Networks as an engine has them: rows, addresses, who is on which, what is made when.

``service.py`` is the collection, ``network.py`` one of it; ``table.py`` has the rows,
``joining.py`` decides what a container's endpoints are, ``onhost.py`` has a network made.
"""
