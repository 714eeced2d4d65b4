"""`emf-ros calibrate`: intrinsics from pictures of a board, or from people that walk about."""
