"""How the rows of one schema read in another one: which table, column and value goes where."""
