"""Every knob of params.yaml: its type, its rules, and how the file is read."""
