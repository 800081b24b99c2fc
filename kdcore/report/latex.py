"""A table's blocks in; a LaTeX table out, as the package booktabs draws it."""

import pandas as pd

from kdcore.report.markdown import Table, cell_text

BEYOND_ASCII = {"±": r"$\pm$", "−": "$-$", "“": "``", "”": "''"}


def to_latex(table: Table) -> str:
    """The table between \\toprule and \\bottomrule: \\input it into a document that has \\usepackage{booktabs}.

    What LaTeX would take as a command in a header or a cell is escaped.
    """
    body = [[cell_text(cell) for cell in row] for row in table.body]
    frame = pd.DataFrame(body, columns=[cell_text(name) for name in table.header])
    columns = "l" * table.words + "r" * (len(table.header) - table.words)
    styled = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    text: str = styled.to_latex(hrules=True, column_format=columns)
    for character, command in BEYOND_ASCII.items():
        text = text.replace(character, command)
    return text
