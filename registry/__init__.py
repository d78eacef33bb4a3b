"""What a release is: store, ledger, bundles, signatures, resolver, MLflow mirror. Floor 2: imports contracts alone."""
