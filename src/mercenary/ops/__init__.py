"""What whoever runs a marketplace does to it beside its requests: the work behind the commands."""
