"""The local run as a page in a browser: pictures in, cutouts on any ground, options and their command lines out."""
