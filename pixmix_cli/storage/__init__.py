"""Files: pictures and datasets in, committed outputs and their manifests out."""
