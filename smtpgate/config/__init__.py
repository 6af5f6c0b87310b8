"""SETTINGS: what the operator said, nothing else.

`loader` reads the configuration file and gives the frozen tree of `model`, or all that is wrong with the file
at once. `position` knows where each key stands, `schema` and `validation` judge keys and values, `build`
makes the tree, `checks` judges the tree as a whole. `reference` writes the documents from the schema.

Nothing here knows Twisted, and only the loader opens files.
"""
