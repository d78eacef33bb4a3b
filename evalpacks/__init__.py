"""How a release is judged: packs, normalisers, metrics, slices, statistics, gates. Tables in, reports out."""
