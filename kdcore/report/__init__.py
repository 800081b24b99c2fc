"""Results of evaluated runs in; tables, plot data and pictures out. Nothing here trains or predicts."""
