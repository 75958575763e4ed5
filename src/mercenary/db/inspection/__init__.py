"""What PostgreSQL knows of itself, for whoever is on call. One file a question.

Each question is a function of a connection that gives frozen structs, and asks only what PostgreSQL
13 to 18 all know; where versions differ, the file says how. `mercenary db` shows the answers.
"""
