"""`kdcore init`: a small DVC project of the user's own, around a classifier and files of rows."""
