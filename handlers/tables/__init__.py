"""What tasks that take rows of a table share: columns in, attributions out."""
