"""Training of the models: data, losses, stages, export. Imports the package, never the reverse."""
