"""Shared by tasks that take images: pixels in, boxes, maps and runs out."""
