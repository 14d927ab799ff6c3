"""What every room needs and none owns: settings, files, manifests, downloads, documents."""
