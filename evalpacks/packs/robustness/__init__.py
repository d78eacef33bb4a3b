"""Pack robustness: the same sentences under several conditions of microphone, room and line."""
