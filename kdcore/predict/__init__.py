"""A finished model and new rows in; predictions out, as a table or in the form that the GLUE server takes."""
