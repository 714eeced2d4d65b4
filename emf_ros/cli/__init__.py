"""The command `emf-ros`."""
