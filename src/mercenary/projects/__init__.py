"""Projects: posted by clients, found by everybody, carried from draft to done."""
