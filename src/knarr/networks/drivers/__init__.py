"""Drivers of networks, one module each; found by name, see ``networks/driver.py``."""
