"""The commands of `soundcheck`, one file a subject. Heavy imports stand inside the functions."""
