"""What a robot wants to know of people: orientations, angles, facing, posture, gestures."""
