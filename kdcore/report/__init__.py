"""Results of evaluated runs in; tables, pictures and the page out. Nothing here trains or predicts."""
