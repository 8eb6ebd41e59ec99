"""Networks of containers: what they are, who makes them on the host, which addresses are free.

``driver.py`` is the protocol of the drivers in ``drivers/``, found by module name.
``definition.py`` has the value that all of them work on, ``ipam.py`` chooses subnets and
addresses. Nothing here knows containers' records, or the database.
"""
