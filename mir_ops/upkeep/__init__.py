"""What keeps a deployment going: backups, restoring them, cleaning up."""
