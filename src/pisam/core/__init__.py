"""The base of everything: types, geometry, seeds, errors, files, progress."""
