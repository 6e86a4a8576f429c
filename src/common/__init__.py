"""The module that every notebook of the book shares.

The core is what the chapters teach:

``data``                          text in, integers out
``nn``, ``models``                integers in, logits out
``optim``, ``train``              logits in, a trained model out
``evaluate``                      a trained model in, losses out
``sampling``, ``constraints``     a trained model in, names out

Three rooms stand on it, each on those before: ``fast`` computes the same sooner; ``runs`` is whatever takes
long: many seeds, checkpoints, folders, sweeps, the command line; ``pages`` is what the pages show.
"""
