"""Sentences, engines, phones: a corpus with exact times."""
