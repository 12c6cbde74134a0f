"""This package does the same work as on one machine, for millions of images and hundreds of products."""
