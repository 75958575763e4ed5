"""What the running product tells about itself."""
