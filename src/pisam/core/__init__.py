"""What everything stands on: types, geometry, seeds, errors, files, progress."""
