"""What only a GPU shows. Without one these tests are skipped; `scripts/test-gpu` runs them."""
