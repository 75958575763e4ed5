"""Skills: what freelancers can do and projects need; a short list that admins keep."""
