"""What every other package knows: errors, domain types, content keys, files and text."""
