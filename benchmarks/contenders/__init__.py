"""Who is compared: each module makes a job, a function that trains the student anew and says how long it took."""
