"""What tasks that write text token by token share: which token, which text, many at once."""
