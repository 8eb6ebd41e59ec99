"""``knarr.lock``: which digest each name of an image stands for."""
