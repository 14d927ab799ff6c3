"""Texts by language for learning and comparing vocabularies."""
