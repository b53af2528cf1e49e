"""Programs for developers: what makes the generated parts of the documentation, and shell scripts."""
