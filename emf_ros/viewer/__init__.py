"""The web viewer: skeletons in 3D in a browser. Needs the extra `viewer` (viser)."""
