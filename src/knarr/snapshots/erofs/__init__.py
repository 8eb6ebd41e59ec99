"""EROFS images that index a layer's tar: metadata of ours, contents where they are in the tar."""
