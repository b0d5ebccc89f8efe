"""What docs/app.md gives to copy into one's own app, run as it stands there."""
