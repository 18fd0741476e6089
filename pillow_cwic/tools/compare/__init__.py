"""CWIC beside other formats at equal bytes: the search for those files, what they are worth, and a page to see it."""
