"""Sources lifted to files: one, or thousands on all cores or on many machines."""
