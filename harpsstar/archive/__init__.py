"""Many files: finding them, and one row for each whatever happens."""
