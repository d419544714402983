"""What tasks that take sound share: recordings and frames in, words out."""
