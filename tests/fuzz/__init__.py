"""Fuzzing: targets/ in Python (atheris), c/ in C (libFuzzer), corpus/ for both.

``make fuzz`` runs all of them (run.py), and the corpus is a test (test_corpus.py).
"""
