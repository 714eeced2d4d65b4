"""Calibration files of several programs; docs/reference/calibration.md lists the formats."""
