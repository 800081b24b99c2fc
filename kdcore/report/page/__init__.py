"""Results in; one HTML page out, which needs no network, no server and no other file.

Its tables are the rows that table.md is written of; figures and maps are those that the stages before wrote. Whatever
they quote of the data (sentences, tokens, label names) is text here, never markup: jinja2 escapes it, and JSON has no
`<` of its own.
"""
