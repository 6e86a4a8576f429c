"""The small module that every notebook of the book shares.

Layers of the house; each module imports only from those above it:

``vocabulary``, ``names``   text in, integers out
``layers``, ``models``      tensors in, logits out
``stacked``, ``train``      logits in, a trained model out; fast, and readable
``evaluate``                a trained model in, losses out
``sample``                  a trained model in, names out
``experiments``             a run as a dataclass and a folder; runs side by side
``sweep``, ``sweep_ray``    many runs of a search space: on Optuna, or on a Ray cluster
``plots``, ``widgets``      numbers in, pictures out
``checks``                  what the pages promise, held
``bench``                   what a training step costs
``files``, ``provenance``   beneath them all: files that are whole, where a figure comes from
"""
