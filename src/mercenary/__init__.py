"""The backend of a freelance marketplace whose performance guide can be executed."""

__version__ = "0.1.0"
