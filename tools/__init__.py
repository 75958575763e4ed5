"""What `make lint` runs beside the linters, because no linter knows these rules."""
