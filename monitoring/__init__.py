"""What production says: the canary judge. Floor 3: pure, tables in, decisions out."""
