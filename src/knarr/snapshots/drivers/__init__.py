"""The snapshot drivers; each module gives a class ``Driver`` (see ``snapshots/driver.py``)."""
