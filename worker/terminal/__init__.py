"""What the commands of a person do: install the SQL, look at the queue."""
