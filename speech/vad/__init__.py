"""Our own voice activity detector: clips with and without speech, a small network over log-mel frames, its training."""
