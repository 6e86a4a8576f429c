"""Text in, integers out; and where the book's own data lies."""
