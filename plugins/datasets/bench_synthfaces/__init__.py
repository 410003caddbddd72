"""Synthetic faces and verification protocols: a default dataset without downloads or licences."""
