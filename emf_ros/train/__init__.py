"""Learning to lift: motion capture, synthetic cameras and detectors, losses, metrics, trainer."""
