"""The small module that every notebook of the book shares.

Layers of the house; each module imports only from those above it:

``vocabulary``, ``names``   text in, integers out
``layers``, ``models``      tensors in, logits out
``train``, ``evaluate``     logits in, losses out
``sample``                  a trained model in, names out
``plots``, ``widgets``      numbers in, pictures out
``checks``                  what the pages promise, held
"""
