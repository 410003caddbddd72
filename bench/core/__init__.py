"""What every other package uses: domain types, errors, content keys, provenance, files and text. No torch."""
