"""Where the marks of each picture stand; one module a picture, axes in common."""
