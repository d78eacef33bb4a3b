"""What is released: front end, reference models, runtimes behind one Protocol. Floor 2: imports contracts alone."""
