"""What tasks that take images share: pixels in, boxes, maps and runs out."""
