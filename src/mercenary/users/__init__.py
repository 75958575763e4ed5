"""Users: the profiles of clients, freelancers and admins, and what freelancers can do."""
