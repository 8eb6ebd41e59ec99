"""Tags that say what an image was made of: the version of a source tree, and its commit."""
